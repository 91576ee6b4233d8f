"""A submission's trace context (W3C Trace Context): from its headers or fields to its jobs' bodies, facts and commands.

Texts of others are checked strictly and bounded here, before they get anywhere; what isn't valid counts as none, and
never makes a submission be refused.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
#: Where a job's body, and so each of its documents, has it.
FIELD = "trace"
#: Version 00: trace id, parent id, flags; neither id may be zeros alone.
_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: A list's members, and characters of the whole: what every party must pass on.
_MOST_MEMBERS, _LONGEST = 32, 512
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


@dataclass(frozen=True, slots=True)
class Trace:
    """A valid `traceparent`, and a valid `tracestate` or ""; both are "" where there is none."""

    parent: str = ""
    state: str = ""

    def __bool__(self) -> bool:
        return bool(self.parent)

    @classmethod
    def of(cls, parent: object, state: object = "") -> Self:
        """Check both; without a valid parent there is nothing, an invalid state is left out."""
        if not isinstance(parent, str) or not _PARENT.fullmatch(parent):
            return cls()
        return cls(parent, _state(state))

    @classmethod
    def sent(cls, headers: Iterable[tuple[str, Any]], fields: Mapping[str, Any]) -> Self:
        """Read it from a record's headers; where none of them is called `traceparent`, from its fields.

        A header of that name that comes twice is none, those called `tracestate` are one list.
        """
        texts = [(name, _text(value)) for name, value in headers if name in (TRACEPARENT, TRACESTATE)]
        parents = [text for name, text in texts if name == TRACEPARENT]
        if not parents:
            return cls.of(fields.get(TRACEPARENT), fields.get(TRACESTATE))
        state = ",".join(text for name, text in texts if name == TRACESTATE)
        return cls.of(parents[0] if len(parents) == 1 else "", state)

    @classmethod
    def within(cls, body: Mapping[str, Any]) -> Self:
        """Read it from a job's body."""
        found = body.get(FIELD)
        return cls.of(found.get(TRACEPARENT), found.get(TRACESTATE)) if isinstance(found, Mapping) else cls()

    def record(self) -> dict[str, str]:
        """Return what a job's body has under `FIELD`; empty where there is none."""
        return {name: text for name, text in ((TRACEPARENT, self.parent), (TRACESTATE, self.state)) if text}

    def environment(self) -> dict[str, str]:
        """Return the variables by which tracing libraries take over their parent's context."""
        return {name.upper(): text for name, text in self.record().items()}


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else ""


def _state(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    members = [member.strip(" \t") for member in value.split(",")]
    named = [member for member in members if member]
    keys = {member.partition("=")[0] for member in named}
    valid = len(named) <= _MOST_MEMBERS and len(keys) == len(named) and all(map(_MEMBER.fullmatch, named))
    return ",".join(named) if valid else ""
