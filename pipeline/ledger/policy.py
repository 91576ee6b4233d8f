"""The settings that the ledger's decisions depend on; they arrive in the log (design §4)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import orjson

_FLAGS = frozenset({"retry", "sealing"})


@dataclass(frozen=True, slots=True)
class Policy:
    """All times in ms. Defaults hold until the first `PolicySet` message of a partition that says otherwise.

    A default never changes: it is what logs that were written before the field was there were decided by.
    """

    lease_ms: int = 60_000
    tick_ms: int = 5_000
    max_attempts: int = 3
    retry_backoff_ms: int = 1_000
    retry_backoff_max_ms: int = 300_000
    free_releases: int = 5
    hard_limit_grace_ms: int = 3_600_000
    window_ms: int = 8 * 86_400_000
    document_ms: int = 2 * 86_400_000
    max_unfinished: int = 500
    republish_ms: int = 3_600_000
    #: Whether anything that began and failed is tried again by itself.
    retry: bool = True
    #: Rules by category (`pipeline.retry_rules`), beside that for lost workers.
    retries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: % of a back-off by which it is shortened at most.
    retry_jitter_percent: int = 0
    #: What a job's own rules may raise: attempts, and (MiB, of any rule) its memory need. 0: not at all.
    retry_attempts_limit: int = 10
    retry_memory_mib: int = 0
    #: Whether grants are sealed: they are whole then, and for holders with a key alone (decision 029).
    sealing: bool = False

    @property
    def lease_ticks(self) -> int:
        """Counted ticks without a heartbeat after which a lease is over."""
        return max(1, -(-self.lease_ms // self.tick_ms))

    def json(self) -> str:
        """Return the text that a `PolicySet` message carries."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def of(cls, text: str | bytes) -> Self:
        """Build it from such a text; names that this version doesn't know are passed over.

        Raises ValueError, TypeError or AttributeError for anything else.
        """
        known = cls.__dataclass_fields__
        return cls(**{name: _value(name, value) for name, value in orjson.loads(text).items() if name in known})


def _value(name: str, value: Any) -> Any:
    if name == "retries":
        return {str(rule): dict(fields) for rule, fields in value.items()}
    return bool(value) if name in _FLAGS else int(value)
