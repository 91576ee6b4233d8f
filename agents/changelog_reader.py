"""Reads changelogs in bulk, by a client of its own and in a thread.

Faust's own way takes each record by itself through the consumer, a queue and the event loop, 5,000 a second on a busy
machine: a table of a million rows would take minutes, in which the loop has time for nothing else.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from faust.types import TP

from agents.bus import CALL_TIMEOUT, consumer
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: Records that are taken over together at most; s that are waited for more of them while all wait, and beside work.
_BATCH, _LINGER, _LEISURE = 2000, 0.1, 0.5
#: s between two reports of how far a long reading is, and before a broker that doesn't answer is asked again.
_REPORT, _PAUSE = 5.0, 1.0
#: s without even an end of a log after which another client reads on: see agents.fetching.
_PATIENCE = 30.0
#: Much is asked for at a time, and no more is kept ready than what some batches take.
_BULK: dict[str, Any] = {
    "fetch.message.max.bytes": 4_194_304,
    "queued.max.messages.kbytes": 8192,
    "fetch.wait.max.ms": 100,
    "enable.partition.eof": True,
}


class Change(NamedTuple):
    """One record of a changelog; the value None deletes. Millions are made: a data class takes three times as long."""

    offset: int
    key: bytes
    value: bytes | None
    headers: Any = ()


T = TypeVar("T")
#: Takes over records of one partition, in their order.
TakeOver = Callable[[TP, list[Change]], None]


class ChangelogReader:
    """Reads some partitions of changelogs; for one thread, but for `halt`."""

    def __init__(self, settings: Settings, take_over: TakeOver) -> None:
        self._settings = settings
        self._take_over = take_over
        self._halted = threading.Event()
        #: Records that were taken over.
        self.count = 0

    def halt(self) -> None:
        """Have the reading end after the batch that is under way; from any thread."""
        self._halted.set()

    def bounds(self, places: Iterable[TP]) -> dict[TP, tuple[int, int]]:
        """Return where each log begins and ends now; waits for the broker, and returns {} once halted."""
        return self._asked(places, _watermarks, "the changelogs' ends are not known yet")

    def first_since(self, places: Iterable[TP], time_ms: int) -> dict[TP, int]:
        """Return the first offset of each log that is at least as new (ms), its end where there is none.

        Waits for the broker, and returns {} once halted.
        """
        ask = partial(_first_since, time_ms=time_ms)
        return self._asked(places, ask, "the changelogs' times are not known yet")

    def _asked(self, places: Iterable[TP], ask: Callable[[Consumer, TP], T], waiting: str) -> dict[TP, T]:
        names = list(places)
        while not self._halted.is_set():
            client = self._client()
            try:
                return {tp: ask(client, tp) for tp in names}
            except KafkaException as error:
                log.warning(waiting, error=str(error.args[0]))
                self._halted.wait(_PAUSE)
            finally:
                client.close()
        return {}

    def read(self, spans: Mapping[TP, tuple[int, int]]) -> bool:
        """Take over what lies in each span (first offset, end); return whether that was all, and it wasn't halted."""
        left = {tp: end for tp, (begin, end) in spans.items() if begin < end}
        if not left:
            return not self._halted.is_set()
        total = sum(end - spans[tp][0] for tp, end in left.items())
        places = {tp: spans[tp][0] for tp in left}
        begun = time.monotonic()
        while left and not self._halted.is_set():
            client = self._client()
            try:
                self._read_on(client, left, places, total, begun)
            finally:
                client.close()
        return not left

    def _read_on(self, client: Consumer, left: dict[TP, int], places: dict[TP, int], total: int, begun: float) -> None:
        """Read from `places` on until nothing is left, or nothing has come for long."""
        client.assign([TopicPartition(tp.topic, tp.partition, places[tp]) for tp in left])
        heard = told = time.monotonic()
        while left and not self._halted.is_set():
            reached = self._pass(client, left, _LINGER)
            now = time.monotonic()
            if reached:
                places |= reached
                heard = now
            elif now - heard > _PATIENCE:
                log.warning("no changelog has been heard of for long, another client reads on", seconds=_PATIENCE)
                return
            if now - told > _REPORT:
                told = now
                log.info("reading the changelogs", records=self.count, of=total, seconds=round(now - begun))

    def follow(self, begins: Mapping[TP, int]) -> None:
        """Take over what comes, from these offsets on, until halted."""
        client = self._client()
        try:
            client.assign([TopicPartition(tp.topic, tp.partition, begin) for tp, begin in begins.items()])
            while not self._halted.is_set():
                self._pass(client, {}, _LEISURE)
        finally:
            client.close()

    def _pass(self, client: Consumer, left: dict[TP, int], linger: float) -> dict[TP, int]:
        """Take over a batch, take out of `left` whose end was reached; return up to where each was read."""
        places: dict[TP, int] = {}
        changes: dict[TP, list[Change]] = defaultdict(list)
        for message in client.consume(_BATCH, linger):
            error = message.error()
            tp = TP(message.topic(), message.partition())
            if error is None:
                changes[tp].append(_change(message))
                reached = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # compaction may have left nothing between the last record and the end
                reached = message.offset()
            else:
                log.warning("reading the changelogs", error=error.str())
                continue
            places[tp] = reached
            if reached >= left.get(tp, reached + 1):
                del left[tp]
        for tp, batch in changes.items():
            self._take_over(tp, batch)
            self.count += len(batch)
        return places

    def _client(self) -> Consumer:
        return consumer(self._settings, self._settings.topology.name("jobstream-changelogs"), **_BULK)


def _change(message: Message) -> Change:
    value = message.value()
    return Change(message.offset(), message.key(), value, () if value is not None else message.headers() or ())


def _watermarks(client: Consumer, tp: TP) -> tuple[int, int]:
    low, high = client.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), timeout=CALL_TIMEOUT)
    return low, high


def _first_since(client: Consumer, tp: TP, time_ms: int) -> int:
    # one at a time, see agents.offsets
    (place,) = client.offsets_for_times([TopicPartition(tp.topic, tp.partition, time_ms)], timeout=CALL_TIMEOUT)
    if place.error is not None:
        raise KafkaException(place.error)
    return int(place.offset) if place.offset >= 0 else _watermarks(client, tp)[1]
