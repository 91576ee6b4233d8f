"""One topic, and the settings of the kinds that there are beside plain ones."""

from dataclasses import dataclass, field

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
KIB = 1024

#: Largest record of the topics that carry whole documents.
RECORD_LIMIT = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: what `topics apply` creates and `topics list` shows. `retention_ms` None means no time limit."""

    name: str
    partitions: int
    key: str
    written_by: str
    schema: str | None
    retention_ms: int | None
    compacted: bool = False
    max_bytes: int = RECORD_LIMIT
    extra: dict[str, str] = field(default_factory=dict)

    def config(self) -> dict[str, str]:
        """Return the topic's settings as Kafka spells them; time is the broker's (LogAppendTime)."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(-1 if self.retention_ms is None else self.retention_ms),
            "max.message.bytes": str(self.max_bytes),
            "message.timestamp.type": "LogAppendTime",
            **self.extra,
        }


#: A run topic is small and read whole by each scheduler: compacted early and often (design §5).
RUN_TOPIC = {
    "segment.bytes": str(16 * KIB * KIB),
    "segment.ms": "600000",
    "max.compaction.lag.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": str(HOUR_MS),
}
#: Logs go after a day, and earlier where jobs print much: they are no record of what happened.
LOGS = {"retention.bytes": str(1024 * KIB * KIB), "segment.bytes": str(64 * KIB * KIB)}
#: ms that changelogs keep tombstones: who was away for longer may have missed one, and must not believe its own tables.
TOMBSTONES_MS = DAY_MS
#: Only closed segments are compacted: the broker's defaults would let each grow for a week, or to a GiB.
CHANGELOG = {
    "min.compaction.lag.ms": str(HOUR_MS),
    "delete.retention.ms": str(TOMBSTONES_MS),
    "segment.bytes": str(64 * KIB * KIB),
    "segment.ms": str(6 * HOUR_MS),
    "min.cleanable.dirty.ratio": "0.3",
}
