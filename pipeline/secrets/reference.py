"""`secret://NAME`: a text that stands for a secret, and is all that is ever written down of it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: A name, in full; it is part of a file's name and of a variable's.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_REFERENCE = re.compile(rf"secret://({NAME.pattern})")
_BEGINNING = "secret://"
#: Levels of parameters that are looked through; what is nested deeper holds no reference.
_DEPTH = 20


def reference_of(text: object) -> str | None:
    """Return the secret's name that a whole text refers to, None for any other text.

    >>> reference_of("secret://earthdata"), reference_of("see secret://earthdata"), reference_of(5)
    ('earthdata', None, None)
    """
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    return found[1] if found else None


def named_in(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the names of all references in texts, lists and mappings."""
    if isinstance(value, str):
        if value.startswith(_BEGINNING) and (name := reference_of(value)) is not None:
            yield name
    elif depth and isinstance(value, Mapping):
        for one in value.values():
            yield from named_in(one, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for one in value:
            yield from named_in(one, depth - 1)


def variable_of(name: str) -> str:
    """Return the environment variable by which a worker, and a command, knows a secret.

    >>> variable_of("earthdata.login")
    'JOBSTREAM_SECRET_EARTHDATA_LOGIN'
    """
    return "JOBSTREAM_SECRET_" + re.sub(r"[.-]", "_", name).upper()
