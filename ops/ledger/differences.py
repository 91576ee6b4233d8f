"""A row of the tables beside the row that a fold makes: the same, or how it differs; and what came of a partition."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.orchestrator.row import body_of, offset_of
from ops.ledger.rows import ACTIVE
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family
from pipeline.replay.difference import Change, differences

#: How a row differs.
MISSING, EXTRA, DIFFERS, BEYOND = (
    "not in the tables",
    "only in the tables",
    "differs",
    "includes more than the inbox has",
)
#: Why a row isn't judged.
PAST = "its past is before the inbox begins"
#: Differences of a partition that are kept; all are counted.
KEPT = 1000
#: Names in differences of rows that are no family's.
POLICY, FORGOTTEN = "policy", "forgotten"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that isn't what the inbox makes it; `changes` go from the tables to the fold.

    The offsets are those that the rows include, None where there is none.
    """

    partition: int
    table: str
    key: str
    kind: str
    tables_offset: int | None
    fold_offset: int | None
    changes: tuple[Change, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "partition": self.partition,
            "table": self.table,
            "key": self.key,
            "kind": self.kind,
            "tables_offset": self.tables_offset,
            "fold_offset": self.fold_offset,
            "changes": [change.record() for change in self.changes],
        }


@dataclass(slots=True)
class TableVerdict:
    """What came of one partition; `equal` and `differing` count rows by table."""

    partition: int
    messages: int = 0
    equal: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "partition": self.partition,
            "messages": self.messages,
            "equal": dict(self.equal),
            "differing": dict(self.differing),
            "not_judged": dict(self.unjudged),
            "differences": [one.record() for one in self.differences],
            "notes": self.notes,
        }


def kind_of(value: bytes | None, made: bytes | None, ends: int) -> str:
    """Return how a row of the tables differs from that of a fold, in an inbox that ends at `ends`."""
    if value is None:
        return MISSING
    if offset_of(value) >= ends:
        return BEYOND
    return EXTRA if made is None else DIFFERS


def same_family(value: bytes | None, made: bytes | None) -> bool:
    """Say whether two rows of a family say the same, offsets included."""
    if value is None or made is None or value == made:
        return value == made
    try:
        # a row of before has fewer fields, which have defaults
        return offset_of(value) == offset_of(made) and Family.load(body_of(value)) == Family.load(body_of(made))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def same_document(value: bytes, made: bytes) -> bool:
    """Say whether two rows of a document say the same, offsets included."""
    if value == made:
        return True
    try:
        return offset_of(value) == offset_of(made) and Document.load(body_of(value)) == Document.load(body_of(made))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def fields_of(table: str, value: bytes | None) -> Any:
    """Return a row as JSON; as text where it is none."""
    if value is None or table == ACTIVE:
        return {}
    try:
        return orjson.loads(body_of(value))
    except orjson.JSONDecodeError:
        return text_of(body_of(value))


def policy_fields(value: bytes | None) -> Any:
    """Return a policy's row as JSON; as text where it is none."""
    if value is None:
        return {}
    try:
        inbox_id, policy = orjson.loads(body_of(value))
        return {"inbox_id": inbox_id, "policy": orjson.loads(policy)}
    except (ValueError, TypeError):
        return text_of(body_of(value))


def changes_of(value: Any, made: Any) -> tuple[Change, ...]:
    """Return what differs, from the tables to the fold."""
    return tuple(differences(value, made))


def text_of(data: bytes) -> str:
    """Return bytes as text, whatever they are."""
    return data.decode("utf-8", "replace")
