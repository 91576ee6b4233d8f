"""The ledger's settings."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from pipeline import retry_rules
from pipeline.settings.section import Section


def _retry_rules(rules: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    retry_rules.checked(rules)
    return rules


class LedgerSettings(Section):
    """The ledger's policy and the orchestrator that runs it (design §4)."""

    lease_ms: int = Field(60_000, ge=1000, description="ms that a lease lives without a heartbeat")
    tick_ms: int = Field(5000, ge=100, description="ms between two ticks")
    retry: bool = Field(True, description="whether what began and failed is tried again by itself; false: nothing is")
    max_attempts: int = Field(3, ge=1, le=100, description="attempts when workers are lost, and of rules that say none")
    retry_backoff_ms: int = Field(1000, ge=0, description="ms before a retry; doubles with each")
    retry_backoff_max_ms: int = Field(300_000, ge=0, description="ms, the longest back-off")
    retry_jitter_percent: int = Field(20, ge=0, le=100, description="% by which a back-off is shortened at most")
    retries: Annotated[dict[str, dict[str, Any]], AfterValidator(_retry_rules)] = Field(
        default_factory=dict, description="JSON: rules for retries by category of failure, see Retries"
    )
    retry_attempts_limit: int = Field(10, ge=1, le=100, description="attempts that jobs' own rules may ask for")
    retry_memory_mib: int = Field(
        0, ge=0, le=2**31 - 1, description="MiB that a need may grow to: what the largest worker offers; 0: none grows"
    )
    free_releases: int = Field(5, ge=0, description="attempts handed back before the start that do not count")
    hard_limit_grace_ms: int = Field(
        3_600_000, ge=0, description="ms past the hard limit until the ledger ends a job: time to publish included"
    )
    window_ms: int = Field(8 * 86_400_000, ge=0, description="ms that a finished job is remembered for dedup")
    document_ms: int = Field(2 * 86_400_000, ge=0, description="ms that a finished job can be retried by its id")
    max_unfinished: int = Field(500, ge=1, le=500, description="unfinished jobs of one payload hash")
    republish_ms: int = Field(3_600_000, ge=1000, description="ms until a waiting job's run record is written again")
    session_ms: int = Field(10_000, ge=3000, description="ms until a dead orchestrator's partitions move")
    instance: str | None = Field(None, description="static group instance id; none: host name and home")
    standbys: int = Field(1, ge=0, le=8, description="orchestrators that follow a partition's tables beside its owner")
    store: str = Field("rocksdb", pattern="^(rocksdb|memory)$", description="where the tables are kept")

    @model_validator(mode="after")
    def _memory_can_grow(self) -> "LedgerSettings":
        growing = [name for name, rule in self.retries.items() if rule.get("memory_factor", 1) > 1]
        if growing and not self.retry_memory_mib:
            raise ValueError(
                f"retries.{growing[0]}.memory_factor needs retry_memory_mib: what the largest worker offers"
            )
        return self
