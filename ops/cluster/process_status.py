"""What is to be seen of one process of an installation."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """`kind` is server, orchestrator, scheduler, worker or sink; `running`: it lives, and a server answers.

    `address` is host:port or URL, "" for agents; `memory` is in bytes; `since` in seconds since the epoch.
    """

    name: str
    kind: str
    running: bool
    pid: int | None
    address: str
    memory: int
    since: float | None
    log: Path
