"""What a decision is: the new state and what goes out, all of it a function of state and message."""

from dataclasses import dataclass, field

from pipeline.ledger.document import Document
from pipeline.ledger.state import Family
from pipeline.messages.command import Command
from pipeline.messages.fact import Fact
from pipeline.messages.run import Run


@dataclass(frozen=True, slots=True)
class At:
    """Where a message stands in the inbox; `timestamp` is its LogAppendTime in ms."""

    partition: int
    offset: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A run record, whose header marks a replayed job, or its tombstone with the headers that answer a claim."""

    queue: str
    key: str
    run: Run | None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Decision:
    """The family after the message, and what to publish before the family is written.

    `documents` are written before the family too; a None forgets one. Deciding the same message on the
    same state again gives an equal decision, so that a crash between any two side effects is repeated away.
    """

    family: Family
    documents: dict[str, Document | None] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
