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
#: Header of statuses and commands whose sender seals grants, or takes sealed ones alone; `on`.
SEALING_HEADER, _ON = "jobstream-sealing", b"on"
#: Key on jobs.settings under which an orchestrator says what it speaks.
SETTING = "orchestrator/protocol"
_TEXT = re.compile(rb"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Protocol:
    """What one side speaks, and the oldest version that it understands; `version` is its release, as far as known.

    `seals`: an orchestrator seals its grants, a worker has a key and takes no others (decision 029).
    """

    speaks: int
    oldest: int
    version: str = field(default="", compare=False)
    seals: bool = False

    @property
    def header(self) -> tuple[str, bytes]:
        """The header that says what is spoken."""
        return HEADER, f"{self.speaks}/{self.oldest}".encode()

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """All headers of a record of this sender."""
        return [self.header, (SEALING_HEADER, _ON)] if self.seals else [self.header]

    @property
    def setting(self) -> dict[str, Any]:
        """What the setting says, as JSON."""
        return {"speaks": self.speaks, "oldest": self.oldest, "version": self.version, "seals": self.seals}

    @classmethod
    def in_headers(cls, headers: Iterable[tuple[str, Any]] | None) -> Self:
        """Return what a record's headers say; without one it is the first version, which had none."""
        told = dict(headers or ())
        seals = told.get(SEALING_HEADER) == _ON
        if HEADER not in told:
            return cls(1, 1, seals=seals)
        value = told[HEADER]
        found = _TEXT.fullmatch(value) if isinstance(value, bytes) else None
        return cls(int(found[1]), int(found[2]), seals=seals) if found else cls(0, 0, seals=seals)

    @classmethod
    def in_setting(cls, setting: Mapping[str, Any]) -> Self:
        """Return what the setting says; raises KeyError, TypeError, ValueError for what is none."""
        release = str(setting.get("version") or "")[:40]
        return cls(int(setting["speaks"]), int(setting["oldest"]), release, setting.get("seals") is True)

    def understands(self, other: "Protocol") -> bool:
        """Say whether both sides understand each other's records."""
        return self.speaks >= other.oldest and other.speaks >= self.oldest

    def __str__(self) -> str:
        """Say it for people."""
        release = f" ({self.version})" if self.version else ""
        return f"{self.speaks}{release}, and understands from {self.oldest} on"


def why_not(worker: Protocol, orchestrator: Protocol) -> str:
    """Say why a worker gets no grants from an orchestrator, "" where it does."""
    if worker.understands(orchestrator):
        return _why_unsealed(worker, orchestrator)
    older = "worker" if worker.speaks < orchestrator.speaks else "orchestrator"
    return (
        f"protocol: the worker speaks {worker}; the orchestrator speaks {orchestrator}: "
        f"upgrade the {older}, it is the older one"
    )


def _why_unsealed(worker: Protocol, orchestrator: Protocol) -> str:
    if worker.seals == orchestrator.seals:
        return ""
    if worker.seals:
        told = "the worker takes sealed grants alone, and the orchestrator seals none"
    else:
        told = "the orchestrator seals its grants, and the worker has no key to open them"
    return f"sealing: {told}: JOBSTREAM_SECURITY__SEALING must be the same everywhere"


#: What this release speaks. Both numbers are changed here, and nowhere else.
OWN = Protocol(speaks=2, oldest=1, version=__version__)
#: What it speaks where grants are sealed: version 1 knows of no seal.
_SEALING = Protocol(speaks=2, oldest=2, version=__version__, seals=True)


def own(sealing: bool) -> Protocol:
    """Return what this release speaks where sealing is on, or off."""
    return _SEALING if sealing else OWN
