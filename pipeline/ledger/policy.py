"""The settings that the ledger's decisions depend on; they arrive in the log (design §4)."""

from dataclasses import asdict, dataclass
from typing import Self

import orjson


@dataclass(frozen=True, slots=True)
class Policy:
    """All times in ms. Defaults hold until the first `PolicySet` message of a partition."""

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

    @property
    def lease_ticks(self) -> int:
        """Counted ticks without a heartbeat after which a lease is over."""
        return max(1, -(-self.lease_ms // self.tick_ms))

    def backoff(self, retries: int) -> int:
        """Return the ms before the retry that follows `retries` counted failures."""
        return min(self.retry_backoff_max_ms, self.retry_backoff_ms << min(max(retries - 1, 0), 30))

    def json(self) -> str:
        """Return the text that a `PolicySet` message carries."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def of(cls, text: str | bytes) -> Self:
        """Build it from such a text; names that this version doesn't know are passed over."""
        known = cls.__dataclass_fields__
        return cls(**{name: int(value) for name, value in orjson.loads(text).items() if name in known})
