"""How deep JSON of unknown origin may be nested.

What reads JSON takes more levels than what writes it: a value that was read whole could be written nowhere, neither as
a fact nor as a document.
"""

from typing import Any

import orjson

#: Levels that are taken; what is made of a value may nest it this much deeper than it is.
MOST_LEVELS, _ROOM = 200, 54


def is_too_deep(value: Any) -> bool:
    """Say whether a value that was read from JSON is nested deeper than MOST_LEVELS.

    >>> is_too_deep([[[]]])
    False
    """
    probe = value
    for _ in range(_ROOM):
        probe = [probe]
    try:
        # its own limit on levels is the sum of the two
        orjson.dumps(probe)
    except TypeError:
        return True
    return False
