"""The last value of each key of a small topic: settings, workers' statuses, the scheduler's view."""

from dataclasses import dataclass
from typing import Any

import orjson

from ops.reading.log import Log
from pipeline.settings import Settings
from pipeline.topic import Topic


@dataclass(frozen=True, slots=True)
class Row:
    """A value, the broker's time of its record (ms), and the record's headers."""

    value: bytes
    time: int
    headers: tuple[tuple[str, Any], ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the value as a JSON object; empty where it is none."""
        try:
            value = orjson.loads(self.value)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


def read_table(settings: Settings, topic: Topic, since: int | None = None) -> dict[str, Row]:
    """Return the last row of each key of a topic of one partition, without those whose last record is a tombstone.

    `since` (ms) leaves older records out. Raises `ops.reading.log.BrokerError` where Kafka can't be reached.
    """
    rows: dict[str, Row] = {}
    with Log(settings) as log:
        start = 0 if since is None else log.since(topic, [0], since)[0]
        for message in log.read(topic, 0, start):
            key = (message.key() or b"").decode(errors="replace")
            value = message.value()
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = Row(value, message.timestamp()[1], tuple(message.headers() or ()))
    return rows
