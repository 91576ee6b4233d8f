"""Queues as the scheduler sees them, and which are declared."""

from dataclasses import dataclass, field, fields
from typing import Any

from ops.reading.table import read_table
from pipeline.settings import Settings

_QUEUE = "queue/"


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A declared queue; times in ms, `changed` is when the scheduler last saw a change, None for never."""

    queue: str
    paused: bool
    depth: int = 0
    running: int = 0
    oldest: int | None = None
    unmet: list[dict[str, Any]] = field(default_factory=list)
    changed: int | None = None

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def queue_rows(settings: Settings) -> list[QueueRow]:
    """Return the declared queues by name. Raises `ops.reading.log.BrokerError` where Kafka can't be reached."""
    views = read_table(settings, settings.topology.view)
    rows = []
    for name, paused in sorted(queue_settings(settings).items()):
        row = views.get(name)
        view = row.json() if row is not None else {}
        rows.append(
            QueueRow(
                name,
                paused,
                _number(view.get("depth")) or 0,
                _number(view.get("running")) or 0,
                _number(view.get("oldest")),
                [one for one in view.get("unmet") or [] if isinstance(one, dict)],
                row.time if row is not None else None,
            )
        )
    return rows


def queue_settings(settings: Settings) -> dict[str, bool]:
    """Return the declared queues, and which of them are paused."""
    rows = read_table(settings, settings.topology.settings)
    values = {key[len(_QUEUE) :]: row.json() for key, row in rows.items() if key.startswith(_QUEUE)}
    return {name: value.get("paused") is True for name, value in values.items() if value.get("declared") is True}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
