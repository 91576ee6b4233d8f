"""The scheduler's settings."""

from pydantic import Field

from pipeline.settings.section import Section


class SchedulerSettings(Section):
    """The scheduler (design §5)."""

    session_ms: int = Field(10_000, ge=3000, le=10_000, description="ms until a dead leader is replaced")
    silence_ms: int = Field(15_000, ge=500, description="ms without a status after which a worker gets no jobs")
    claim_retry_ms: int = Field(10_000, ge=500, description="ms until an unanswered claim is sent again")
    slow_partition_ms: int = Field(2000, ge=100, description="no more claims for a partition with one this old")
    priority_step_ms: int = Field(3_600_000, ge=0, description="ms of waiting that one priority is worth")
    rest_max_ms: int = Field(60_000, ge=1000, description="ms that a worker rests at most which keeps losing its jobs")
    view_ms: int = Field(2000, ge=100, description="ms between two writes of the view")
