"""A job as users see it: what a fact, or the index, tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from ops.reading.facts import FINAL, document_of, status_of
from pipeline.messages.fact import Fact
from pipeline.statuses import Status


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment.

    `status` is the job's own, such as `job-queued`; `event` is what the fact says happened, which differs where an
    attempt failed and another follows (`attempt-failed`), or where a request was refused. `time` is the broker's;
    `seq` numbers the job's facts from 1. `document` is the whole status document, as the index has it; of a refusal
    only its beginning.
    """

    job_id: str
    submission_id: str
    status: str
    attempt: int
    seq: int
    time: datetime
    document: Mapping[str, Any] = field(repr=False)
    event: str = ""
    reason: str = ""
    error: str = ""
    short_error: str = ""

    @classmethod
    def of_fact(cls, fact: Fact) -> Self:
        """Build it from a fact."""
        texts = (str(fact.status), fact.reason or "", fact.error or "", fact.short_error or "")
        time = datetime.fromtimestamp(fact.time / 1000, UTC)
        numbers = (fact.attempt, fact.seq, time)
        return cls(fact.job_id, fact.submission_id, str(status_of(fact)), *numbers, document_of(fact), *texts)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Build it from a document of the index."""
        texts = {name: str(document.get(name) or "") for name in ("job_id", "submission_id", "status", "@timestamp")}
        return cls(
            texts["job_id"],
            texts["submission_id"],
            texts["status"],
            int(document.get("attempt") or 0),
            int(document.get("seq") or 0),
            datetime.fromisoformat(texts["@timestamp"]) if texts["@timestamp"] else datetime.fromtimestamp(0, UTC),
            document,
            texts["status"],
            error=str(document.get("error") or ""),
            short_error=str(document.get("short_error") or ""),
        )

    @property
    def type(self) -> str:
        """The job type, without `job:`."""
        return str(self.document.get("type") or "")

    @property
    def queue(self) -> str:
        """The queue that it waits or waited in."""
        return str(self._info.get("job_queue") or "")

    @property
    def params(self) -> dict[str, Any]:
        """What the job gets: the submission's payload, where no job creator made something else of it."""
        return dict(self._job.get("params") or {})

    @property
    def ended(self) -> bool:
        """Whether nothing follows but an explicit retry."""
        return self.status in FINAL

    @property
    def completed(self) -> bool:
        """Whether it ran to its end and its products are published."""
        return self.status == Status.COMPLETED

    @property
    def exit_code(self) -> int | None:
        """The command's exit status once the job ended, None where it never ran to its own end."""
        if self.completed:
            return 0
        status = self._info.get("status")
        return status if self.ended and isinstance(status, int) and 0 < status < 256 else None

    @property
    def original(self) -> str | None:
        """The job that made this one unnecessary, None where it is no duplicate."""
        original = self.document.get("dedup_job")
        return original if isinstance(original, str) and self.status == Status.DEDUPED else None

    @property
    def products(self) -> list[dict[str, Any]]:
        """What it published, as its document says."""
        staged = (self._info.get("metrics") or {}).get("products_staged")
        return [dict(one) for one in staged] if isinstance(staged, list) else []

    @property
    def _job(self) -> Mapping[str, Any]:
        job = self.document.get("job")
        return job if isinstance(job, Mapping) else {}

    @property
    def _info(self) -> Mapping[str, Any]:
        info = self._job.get("job_info")
        return info if isinstance(info, Mapping) else {}
