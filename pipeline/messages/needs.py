"""What a job asks of a worker, and what an attempt reserves of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pipeline.messages.plain import plain


@dataclass(frozen=True, slots=True)
class Needs:
    """Resources (MiB, GPUs), labels that the worker must carry, its engine, and workers to avoid."""

    memory_mib: int = 0
    disk_mib: int = 0
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    engine: str | None = None
    avoid: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "avoid": list(self.avoid)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**{**record, "avoid": tuple(record.get("avoid", ()))})

    def avoiding(self, workers: tuple[str, ...]) -> Self:
        """Return the same needs with these workers to avoid."""
        return replace(self, avoid=workers)
