"""Writes the view of each queue: what `queues` and `why` read (design §3)."""

import orjson

from agents.bus import DeliveryError, Outcome, Publisher
from pipeline.crash_points import here
from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.view import queue_views
from pipeline.topic import Topic


class ViewWriter:
    """Writes what changed since it last wrote; a view that a broker doesn't take is written again next time."""

    def __init__(self, topic: Topic, publisher: Publisher) -> None:
        self._topic = topic
        self._publisher = publisher
        self._written: dict[str, bytes] = {}

    def forget(self) -> None:
        """Write everything next time: somebody else may have written meanwhile."""
        self._written.clear()

    def write(self, scheduler: Scheduler) -> None:
        """Write the queues that changed, and a tombstone for each that is no longer declared."""
        views = {name: orjson.dumps(view.record()) for name, view in queue_views(scheduler).items()}
        for name in self._written.keys() - views.keys():
            del self._written[name]
            self._send(name, None)
        for name, value in views.items():
            if self._written.get(name) != value:
                self._written[name] = value
                self._send(name, value)

    def _send(self, queue: str, value: bytes | None) -> None:
        def delivered(outcome: Outcome) -> None:
            if isinstance(outcome, DeliveryError):
                self._written.pop(queue, None)

        self._publisher.produce(self._topic, queue, value, 0, delivered)
        here("scheduler.view-sent")
