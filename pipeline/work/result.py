"""What comes out of an attempt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.secrets import Mask
from pipeline.statuses import Status
from pipeline.work.errors import Category


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The end of one attempt: job-completed, job-failed, or job-revoked where it was asked to stop.

    `exit_code` is the command's own (None if it never got that far), `job_info` holds what spec §3.2 names, in which
    `status` is never 0 unless the attempt succeeded. `category` is for retry policies. `notes` are sentences about
    what went amiss without failing the attempt.
    """

    status: Status
    exit_code: int | None
    job_info: Mapping[str, Any]
    job_dir: Path | None = None
    error: str | None = None
    short_error: str | None = None
    traceback: str | None = None
    signum: int | None = None
    category: Category | None = None
    container_image_id: str | None = None
    msg: tuple[str, ...] = ()
    msg_details: str | None = None
    #: `_context.json` as the job left it.
    context: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool = False
    oom: bool = False
    notes: tuple[str, ...] = ()
    #: What of the job's secrets is not to be said.
    mask: Mask = field(default_factory=Mask, repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the command ended well and its products are published."""
        return self.status is Status.COMPLETED

    @property
    def products_staged(self) -> list[Any]:
        """What was published."""
        return list(self.job_info.get("metrics", {}).get("products_staged", ()))

    def report(self) -> dict[str, Any]:
        """Return it as a worker reports it, without what is absent and without secrets."""
        said = {
            "status": self.status.value,
            "error": self.error,
            "short_error": self.short_error,
            "traceback": self.traceback,
            "signum": self.signum,
            "category": self.category.value if self.category else None,
            "msg": list(self.msg) or None,
            "msg_details": self.msg_details,
            "container_image_id": self.container_image_id,
            "notes": list(self.notes) or None,
            "job_info": dict(self.job_info),
        }
        report = {name: value for name, value in said.items() if value is not None}
        return dict(self.mask.value(report)) if self.mask else report
