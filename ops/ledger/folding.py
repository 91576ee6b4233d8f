"""The fold of an inbox partition into rows: what the orchestrator's tables hold once all of it is applied."""

from collections.abc import Iterator

from confluent_kafka import Message

from agents.orchestrator.row import POLICY_KEY, policy_value
from agents.registry import codec
from ops.ledger.rows import FAMILIES, FoldedRows, LedgerRows
from ops.reading.log import Log
from ops.replaying.reading import Tell, records, silent
from pipeline.ledger.policy import Policy
from pipeline.messages.inbox import PolicySet
from pipeline.replay.fold import Fold, Step
from pipeline.replay.recorded import Recorded
from pipeline.settings import Settings


class TableFold:
    """Folds one partition's records, which come in order, into rows; `policy` counts until the log has one."""

    def __init__(self, settings: Settings, number: int, rows: LedgerRows, policy: Policy | None = None) -> None:
        self._settings = settings
        self._number = number
        self._codec = codec(settings)
        self._rows = rows
        self._folded = FoldedRows(rows)
        self._fold = Fold(number, self._folded, policy)

    def records(self, log: Log, start: int, end: int, tell: Tell = silent) -> Iterator[Recorded]:
        """Yield the partition's records; each is to be applied before the next is asked for."""
        for message in records(log, self._settings.topology.inbox, self._number, start, end, tell):
            yield self._recorded(message)

    def apply(self, record: Recorded) -> Step:
        """Apply a record and write its rows; say what it did."""
        self._folded.offset = record.offset
        step = self._fold.apply(record)
        body = record.message.body if record.message is not None else None
        if isinstance(body, PolicySet) and step.policy is not None:
            self._rows.put(FAMILIES, POLICY_KEY, policy_value(body.inbox_id, step.policy, record.offset))
        return step

    def _recorded(self, message: Message) -> Recorded:
        return Recorded.read(self._codec, message.offset(), message.timestamp()[1], message.key(), message.value())
