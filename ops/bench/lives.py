"""Lives of jobs that were never run: what the ledger heard of each, and the rows that it left."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from agents.orchestrator.tables import LedgerTables, Row
from ops.bench.load import JOB_TYPE
from pipeline.identity import family_of_hash, job_id, payload_hash
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family, Stub
from pipeline.messages.inbox import Body, Claim, Inbox, NewJob, Report, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.statuses import Status

_HOLDER = "filled:1:00"
#: The id of the topics that its messages are said to come from: what is submitted later is none of these records.
_TOPIC = "filled"
#: Messages of a life.
MESSAGES = 4


@dataclass(frozen=True, slots=True)
class Life:
    """A job that was submitted, claimed, started and completed at `time` (ms).

    Its messages lie at the inbox offsets from `offset` on; `number` is its place among the sources' records.
    """

    number: int
    time: int
    offset: int
    partition: int
    family: str
    hash: str
    job_id: str
    new: NewJob

    @classmethod
    def of(cls, number: int, partition: int, time: int, offset: int) -> "Life":
        """Make the life with that number."""
        payload = payload_of(number)
        hash_ = payload_hash(payload)
        family = family_of_hash(hash_)
        job = job_id(family, f"filled-{number}", hash_, "bench", JOB_TYPE)
        body = {"type": JOB_TYPE, "name": f"{JOB_TYPE}-{number}", "job_id": job, "params": payload}
        new = NewJob(job, JOB_TYPE, "bench", 0, Needs(), orjson.dumps(body).decode(), 3600)
        return cls(number, time, offset, partition, family, hash_, job, new)

    @property
    def submission(self) -> str:
        """Its submission id."""
        return f"filled-{self.number}"

    @property
    def payload(self) -> dict[str, object]:
        """What was submitted."""
        return payload_of(self.number)

    def messages(self) -> Iterator[Inbox]:
        """Yield what the ledger hears of it, in order."""
        started = {"job_info": {"pid": 7, "job_dir": "/work/filled"}}
        yield self._from("submit", Submitted(self.submission, self.hash, True, (self.new,)), self.number)
        yield Inbox(self.family, Claim(self.job_id, 1, JOB_TYPE, _HOLDER, self.submission))
        yield self._from("reports", self._report("started", orjson.dumps(started).decode()), 2 * self.number)
        yield self._from("reports", self._report("completed", '{"exit_code": 0}'), 2 * self.number + 1)

    def rows(self, tables: LedgerTables) -> list[Row]:
        """Return the rows that the ledger writes where it hears all of that at once, in their order."""
        first, last = self.offset, self.offset + MESSAGES - 1
        submission = (self.submission, self.hash, True)
        document = Document.new(self.new, submission, self.time, (self.partition, first))
        stub = Stub(self.submission, Status.COMPLETED, 3, 1, self.time, _HOLDER)
        sources = {
            source.key: source.offset
            for source in (self._source("submit", self.number), self._source("reports", 2 * self.number + 1))
        }
        family = Family(self.family, last, self.hash, sources, {}, {self.job_id: stub})
        return [
            tables.document_row(self.partition, self.job_id, document, first),
            tables.active_row(self.partition, self.family, first, active=True),
            tables.family_row(self.partition, family),
            tables.active_row(self.partition, self.family, last, active=False),
        ]

    def _report(self, kind: str, result: str) -> Report:
        return Report(kind, self.job_id, 1, _HOLDER, result)

    def _from(self, topic: str, body: Body, offset: int) -> Inbox:
        return Inbox(self.family, body, self._source(topic, offset), self.time)

    def _source(self, topic: str, offset: int) -> Source:
        return Source(topic, self.partition, offset, _TOPIC)


def payload_of(number: int) -> dict[str, object]:
    """Return the payload of the job with that number: who submits it again has a duplicate."""
    return {"tag": "filled", "number": number, "duration": 0.0}
