"""What differs between two values, field by field."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Absent(Enum):
    """A value that isn't there, which None is not."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs; `path` has dots between names, and a list's index in brackets."""

    path: str
    before: Any
    after: Any

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object, without the side on which there is nothing."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in sides.items() if value is not ABSENT}}


def differences(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Yield what differs between two JSON values, in the order of the fields.

    >>> [change.path for change in differences({"a": 1, "b": [1, 2]}, {"a": 2, "b": [1, 3]})]
    ['a', 'b[1]']
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{path}.{name}" if path else str(name)
            yield from differences(before.get(name, ABSENT), after.get(name, ABSENT), inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{index}]")
    elif type(before) is not type(after) or before != after:
        yield Change(path, before, after)
