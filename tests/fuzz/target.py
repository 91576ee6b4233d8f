"""The gate's decisions and the ledger behind them, and what must hold of whatever comes in."""

import resource
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from agents.gate.dead import REASON
from agents.gate.job_types import JobTypes
from agents.gate.queues import Queues
from agents.gate.record import INBOX_VALUE_LIMIT, Incoming, Outgoing
from agents.gate.reports import Reports
from agents.gate.submissions import Submissions
from agents.job_types import key_of
from pipeline.codec import Codec
from pipeline.jobtypes.job_type import JobType
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Heartbeat, Inbox, Tick
from pipeline.settings import Settings
from pipeline.submission import creators
from pipeline.submission.errors import UnacceptableError
from pipeline.topology import QUEUE_NAME
from tests.fuzz.corpus import KEY
from tests.unit.jobtypes_support import document

#: Seconds of a processor that one record may take.
SLOW = 5.0
#: Families that the ledger beside it remembers; then it begins anew.
_FAMILIES = 2000
_START = 1_764_000_000_000


class PlayedQueues:
    """Which queues there are, without a broker: each well-named one."""

    def require(self, name: str) -> None:
        if not QUEUE_NAME.fullmatch(name):
            raise UnacceptableError(f"{name[:100]!r} is no queue name")

    def catch_up(self) -> None:
        pass


class BrokenError(AssertionError):
    """Something that must hold doesn't."""


@dataclass
class Target:
    """Takes values, one at a time; `came` counts what became of them."""

    codec: Codec
    home: Path
    came: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        settings = Settings(home=self.home)
        topology = settings.topology
        queues = cast(Queues, PlayedQueues())
        types = JobTypes(queues.catch_up)
        params = ({"name": "scene", "type": "text"}, {"name": "count", "type": "number", "optional": True})
        registered = JobType.of({**document(*params), "name": "registered"})
        types.fold(key_of(registered.id), registered.dump())
        self._submissions = Submissions(settings, self.codec, creators.load(None, None), queues, types)
        self._reports = Reports(topology, self.codec, KEY)
        self._topology = topology
        self._offset = 0
        self._forget()

    def take(self, kind: str, value: bytes) -> None:
        """Let the gate take a record, and the ledger what it made of it; raises BrokenError, or what they raise."""
        self._offset += 1
        topic = {
            "submission": self._topology.submit,
            "report": self._topology.reports,
            "control": self._topology.control,
        }
        record = Incoming(topic[kind].name, self._offset % 2, self._offset, _START, b"k", value, (), "topic-id")
        begun = time.process_time()
        (out,) = self._submissions.decide([record]) if kind == "submission" else (self._reports.decide(record),)
        self._look_at(record, out)
        taken = time.process_time() - begun
        self.slowest = max(self.slowest, taken)
        if taken > SLOW:
            raise BrokenError(f"a record of {len(value)} bytes took {taken:.1f} s of a processor")

    def close(self) -> None:
        self._submissions.close()

    def _look_at(self, record: Incoming, out: Outgoing) -> None:
        if out.topic == self._topology.dead:
            self.came["dead letter"] += 1
            if out.value != record.value or not dict(out.headers)[REASON]:
                raise BrokenError("a dead letter without its bytes or without a reason")
            return
        if out.topic != self._topology.inbox or out.value is None:
            raise BrokenError(f"neither a dead letter nor a message of the inbox: {out.topic.name}")
        if len(out.value) > INBOX_VALUE_LIMIT or not 0 <= out.partition < self._topology.inbox.partitions:
            raise BrokenError(f"the broker would refuse {len(out.value)} bytes for partition {out.partition}")
        message = Inbox.of(self.codec.decode("inbox", out.value))
        self.came[f"{type(message.body).__name__.lower()}"] += 1
        if isinstance(message.body, Tick | Heartbeat):
            return
        if out.key != message.family.encode() or self._topology.inbox_partition(message.family) != out.partition:
            raise BrokenError("a message that isn't where its family is")
        self._apply(message, At(out.partition, self._offset, _START + self._offset))

    def _apply(self, message: Inbox, at: At) -> None:
        family = self._families.get(message.family) or Family(message.family)
        decision = decide(family, message, at, Policy(), self._documents.get)
        self._encodes("fact", (fact.record() for fact in decision.facts))
        self._encodes("run", (one.run.record() for one in decision.dispatches if one.run is not None))
        self._encodes("command", (command.record() for command in decision.commands))
        self._families[message.family] = Family.load(decision.family.dump())
        for job_id, kept in decision.documents.items():
            if kept is None:
                self._documents.pop(job_id, None)
            else:
                self._documents[job_id] = Document.load(kept.dump())
        if len(self._families) > _FAMILIES:
            self._forget()

    def _encodes(self, name: str, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            self.codec.decode(name, self.codec.encode(name, record))

    def _forget(self) -> None:
        self._families: dict[str, Family] = {}
        self._documents: dict[str, Document] = {}


def peak_mib() -> int:
    """Return the most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
