"""The ledger's inbox: everything that can change a job (design §3, §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pipeline.messages.needs import Needs
from pipeline.messages.plain import plain

#: Characters of a topic's id that stand in each family's row: enough for one name's few topics.
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Source:
    """The record that a message was forwarded from; `topic` is submit, reports or control.

    `topic_id` is the broker's for this topic, "" where the gate said none: offsets of a topic that was deleted and made
    anew begin anew. Whoever asks where a message came from knows the place alone, so it doesn't count in comparisons.
    """

    topic: str
    partition: int
    offset: int
    topic_id: str = field(default="", compare=False)

    @property
    def log(self) -> str:
        """Name the source log, whichever topic of that name it is of."""
        return f"{self.topic[0]}{self.partition}"

    @property
    def key(self) -> str:
        """Name the source log, for the highest offset that was applied from it; the front of a topic's id tells."""
        return f"{self.log}/{self.topic_id[:_ID_LENGTH]}" if self.topic_id else self.log


@dataclass(frozen=True, slots=True)
class NewJob:
    """One job of a submission; limits in seconds, `max_wait` in ms, `body` is the job's immutable part as JSON."""

    job_id: str
    queue: str
    creator: str
    priority: int
    needs: Needs
    body: str
    time_limit: int | None = None
    soft_time_limit: int | None = None
    max_wait: int | None = None

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "needs": self.needs.record()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**{**record, "needs": Needs.of(record["needs"])})


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted submission and the jobs made from it."""

    name: ClassVar[str] = "jobstream.Submitted"
    submission_id: str
    payload_hash: str
    dedup: bool
    jobs: tuple[NewJob, ...]

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "jobs": [job.record() for job in self.jobs]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**{**record, "jobs": tuple(NewJob.of(job) for job in record["jobs"])})


@dataclass(frozen=True, slots=True)
class Rejected:
    """A submission that can be named but not accepted; `body` is the job as far as it is known, as JSON."""

    name: ClassVar[str] = "jobstream.Rejected"
    job_id: str
    submission_id: str
    payload_hash: str
    error: str
    body: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a holder says about an attempt: started, completed, failed, release, publish. `result` is JSON."""

    name: ClassVar[str] = "jobstream.Report"
    kind: str
    job_id: str
    attempt: int
    holder: str
    result: str = "{}"


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that a holder says it runs."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The attempts of one inbox partition that a holder runs."""

    name: ClassVar[str] = "jobstream.Heartbeat"
    holder: str
    attempts: tuple[Held, ...]

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "attempts": [plain(held) for held in self.attempts]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(record["holder"], tuple(Held(**held) for held in record["attempts"]))


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passing; `previous` is the inbox offset of the tick before it, -1 for an owner's first."""

    name: ClassVar[str] = "jobstream.Tick"
    previous: int
    resumed: bool
    owner: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The scheduler's advice: this attempt for this holder."""

    name: ClassVar[str] = "jobstream.Claim"
    job_id: str
    attempt: int
    queue: str
    holder: str
    claim_id: str


@dataclass(frozen=True, slots=True)
class Control:
    """What an operator asks: revoke, retry, reprioritise, republish. `arguments` is JSON."""

    name: ClassVar[str] = "jobstream.Control"
    action: str
    job_id: str
    by: str = ""
    reason: str = ""
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The settings that the ledger reads (JSON of `pipeline.ledger.policy.Policy`), and the inbox's topic id."""

    name: ClassVar[str] = "jobstream.PolicySet"
    inbox_id: str
    policy: str


@dataclass(frozen=True, slots=True)
class OutputRefused:
    """The broker would not take an output of this job, for a reason that no retry cures."""

    name: ClassVar[str] = "jobstream.OutputRefused"
    job_id: str
    topic: str
    error: str


@dataclass(frozen=True, slots=True)
class Due:
    """A timer ran out at a counted tick: lease, retry, limit or republish of one attempt (decision 002)."""

    name: ClassVar[str] = "jobstream.Due"
    kind: str
    job_id: str
    attempt: int
    tick: int


@dataclass(frozen=True, slots=True)
class Carried:
    """What the ledger knew of a family before the inbox got more partitions, as JSON: a part of it, or a document."""

    name: ClassVar[str] = "jobstream.Carried"
    state: str = ""
    document: str = ""


Body = Submitted | Rejected | Report | Heartbeat | Tick | Claim | Control | PolicySet | OutputRefused | Due | Carried
_BODIES: dict[str, type[Body]] = {
    kind.name: kind
    for kind in (Submitted, Rejected, Report, Heartbeat, Tick, Claim, Control, PolicySet, OutputRefused, Due, Carried)
}


def _record(body: Body) -> dict[str, Any]:
    return body.record() if isinstance(body, Submitted | Heartbeat) else plain(body)


@dataclass(frozen=True, slots=True)
class Inbox:
    """One message of the inbox; `time` is the source record's LogAppendTime in ms, 0 without a source."""

    family: str
    body: Body
    source: Source | None = None
    time: int = 0
    principal: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {
            "family": self.family,
            "source": None if self.source is None else plain(self.source),
            "time": self.time,
            "principal": self.principal,
            "body": (self.body.name, _record(self.body)),
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        name, fields = record["body"]
        kind = _BODIES[name]
        body: Body = kind.of(fields) if hasattr(kind, "of") else kind(**fields)
        source = record["source"]
        return cls(record["family"], body, source and Source(**source), record["time"], record["principal"])
