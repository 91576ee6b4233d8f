"""The gate's settings."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.settings.section import Section


class GateSettings(Section):
    """The gate (design §3)."""

    batch: int = Field(500, ge=1, le=10_000, description="records forwarded before their offsets are committed")
    lag_limit: int = Field(1000, ge=1, description="inbox messages behind, a partition, above which submissions pause")
    lag_ms: int = Field(400, ge=10, description="ms of the ledger's work in the inbox above which submissions pause")
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="submissions a second, by principal, `*` for each of the others; 0: no limit"
    )
    unverified_rate: float = Field(0.0, ge=0, description="submissions a second of jobs.submit; 0: no limit")
    creators_file: Path | None = Field(None, description="orchestrator_jobs.json; none: only the catch-all")
    creators_dir: Path | None = Field(None, description="the one directory that job creators may be loaded from")
    job_types_dir: Path | None = Field(None, description="folder of job types that the gate registers when it starts")
    hard_limit_gap: int = Field(300, ge=0, description="s between soft and hard time limit at least (spec §1.5)")
    auto_declare: bool = Field(True, description="declare a job type's queue when its first job comes")
    max_queues: int = Field(1000, ge=1, description="queues that may be declared on the way; more are refused")
    threads: int = Field(2, ge=1, le=64, description="threads that job creators run in")
    creator_timeout: float = Field(60.0, gt=0, description="s that a job creator may take; then its job is rejected")
    session_ms: int = Field(6000, ge=3000, description="ms until a dead gate's partitions move")
    lag_check_ms: int = Field(50, ge=10, description="ms between two looks at how far the inbox lags")
