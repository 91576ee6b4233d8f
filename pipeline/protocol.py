"""The protocol between orchestrator, scheduler and workers: its version, and who understands whom (decision 025).

What counts as a change is in docs/protocol.md. A version travels in headers and in JSON, never in an Avro record alone:
who doesn't know a schema can't read what stands in it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pipeline import __version__

#: Header of statuses and commands; `2/1` says: speaks 2, and understands from 1 on.
HEADER = "jobstream-protocol"
#: Key on jobs.settings under which an orchestrator says what it speaks.
SETTING = "orchestrator/protocol"
_TEXT = re.compile(rb"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Protocol:
    """What one side speaks, and the oldest version that it understands; `version` is its release, as far as known."""

    speaks: int
    oldest: int
    version: str = field(default="", compare=False)

    @property
    def header(self) -> tuple[str, bytes]:
        """The header that says it."""
        return HEADER, f"{self.speaks}/{self.oldest}".encode()

    @property
    def setting(self) -> dict[str, Any]:
        """What the setting says, as JSON."""
        return {"speaks": self.speaks, "oldest": self.oldest, "version": self.version}

    @classmethod
    def in_headers(cls, headers: Iterable[tuple[str, Any]] | None) -> Self:
        """Return what a record's headers say; without one it is the first version, which had none."""
        for name, value in headers or ():
            if name == HEADER:
                found = _TEXT.fullmatch(value) if isinstance(value, bytes) else None
                return cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        return cls(1, 1)

    @classmethod
    def in_setting(cls, setting: Mapping[str, Any]) -> Self:
        """Return what the setting says; raises KeyError, TypeError, ValueError for what is none."""
        return cls(int(setting["speaks"]), int(setting["oldest"]), str(setting.get("version") or "")[:40])

    def understands(self, other: "Protocol") -> bool:
        """Say whether both sides understand each other."""
        return self.speaks >= other.oldest and other.speaks >= self.oldest

    def __str__(self) -> str:
        """Say it for people."""
        release = f" ({self.version})" if self.version else ""
        return f"{self.speaks}{release}, and understands from {self.oldest} on"


def why_not(worker: Protocol, orchestrator: Protocol) -> str:
    """Say why a worker gets no grants from an orchestrator, "" where it does."""
    if worker.understands(orchestrator):
        return ""
    older = "worker" if worker.speaks < orchestrator.speaks else "orchestrator"
    return (
        f"protocol: the worker speaks {worker}; the orchestrator speaks {orchestrator}: "
        f"upgrade the {older}, it is the older one"
    )


#: What this release speaks. Both numbers are changed here, and nowhere else.
OWN = Protocol(speaks=1, oldest=1, version=__version__)
