"""The gate's one loop: consume, decide, publish all, await the deliveries, let the offsets be committed.

Nothing is skipped: a record's offset may be committed only after what takes its place was delivered. A process that
ends in between is repeated by the next, with the same sources, and the ledger drops the repeats.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from agents import offsets
from agents.admin import client as admin_of
from agents.admin import topic_ids
from agents.bus import Delivered, DeliveryError, Publisher, consumer
from agents.fetching import Fetching
from agents.gate.dead import dead_letter
from agents.gate.record import Incoming, Outgoing
from agents.topic_ids import TopicIds
from pipeline.crash_points import here
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: Seconds that a consumer waits for a record before it looks whether it should stop.
_POLL = 0.1
#: The same while it is paused: how late a pause may end.
_PAUSED_POLL = 0.01
#: Seconds of waiting for an allowance after which the consumer is paused.
_BRIEF = 1.0
#: Seconds between two tries while the broker or the registry can't be reached: the first, and the longest.
_BACK_OFF, _BACK_OFF_MAX = 0.2, 5.0
#: Seconds that a stop waits for what is on its way.
_STOP_GRACE = 10.0
#: ms between two commits of what was delivered: a crash repeats so much at most.
_COMMIT_MS = 200
#: ms that a batch may take until another consumer gets its partitions: many slow job creators, one after the other.
_MAX_BATCH_MS = 1_800_000

#: The record itself is what the broker refuses, whatever topic it goes to.
_RECORD_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
    }
)

T = TypeVar("T")
Decide = Callable[[Sequence[Incoming]], list[Outgoing]]


class StoppedError(Exception):
    """The loop was told to stop while it waited; what it had in hand is read again by the next."""


class Loop:
    """One consumer, one publisher; `allowance` says how many records may be read now, None: as many as there are.

    `points` is what its crash points are called after, by default its name.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        topics: Sequence[str],
        decide: Decide,
        *,
        allowance: Callable[[], int | None] = lambda: None,
        forwarded: Callable[[int], None] = lambda _: None,
        points: str | None = None,
    ) -> None:
        self.name = f"jobstream-gate-{name}"
        self._points = f"gate.{points or name}"
        self._settings = settings
        self._topics = list(topics)
        self._dead = settings.topology.dead
        self._decide = decide
        self._allowance = allowance
        self._forwarded = forwarded
        self._paused = False
        self._held_up_since: float | None = None
        self._stop = threading.Event()
        self._ids: dict[str, str] = {}
        #: The last offset of each topic's partition since the assignment.
        self._seen: dict[tuple[str, int], int] = {}
        self._watched = TopicIds(admin_of(settings, self.name))

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Raises what no repetition cures, and leaves what it had in hand uncommitted."""
        publisher = Publisher(self._settings, self._settings.topology.name(self.name))
        try:
            while not self._stop.is_set():
                self._consume(publisher)
        except StoppedError:
            log.warning("stopped with records in hand; they are read again", loop=self.name)
        finally:
            publisher.close(_STOP_GRACE)

    def _consume(self, publisher: Publisher) -> None:
        """Work with one consumer until `stop`, or until it turns out to be deaf."""
        client, asker = self._consumer(), self._consumer()
        fetching = Fetching(client, asker=asker)
        try:
            self._persist(lambda: self._watched.find(self._topics))
            client.subscribe(self._topics, on_assign=self._assigned)
            while not self._stop.is_set():
                self._begin_anew(client, self._watched.gone())
                waited = self._waits_briefly()
                if not waited and self._turn(client, publisher):
                    continue
                if waited or self._paused:
                    fetching.look_anew()
                elif fetching.has_stopped():
                    log.warning("the consumer has stopped fetching, and is replaced", loop=self.name)
                    return
        finally:
            # leaves the group, and commits what was delivered
            client.close()
            asker.close()
            self._paused, self._held_up_since = False, None

    def _turn(self, client: Consumer, publisher: Publisher) -> bool:
        """Take what is there to its end; return whether anything was."""
        self._pause_or_resume(client)
        records = self._take(client)
        if not records:
            return False
        here(f"{self._points}.taken")
        records = self._persist(partial(self._identified, records))
        outgoing = self._persist(partial(self._decide, records))
        here(f"{self._points}.decided")
        self._publish(publisher, records, outgoing)
        here(f"{self._points}.delivered")
        self._store(client, records)
        here(f"{self._points}.stored")
        self._forwarded(len(records))
        return True

    def _consumer(self) -> Consumer:
        name = self._settings.topology.name(self.name)
        return consumer(
            self._settings,
            name,
            name,
            **{
                # commits what `_store` names, and no more, in the background and on leaving
                "enable.auto.commit": True,
                "auto.commit.interval.ms": _COMMIT_MS,
                "max.poll.interval.ms": _MAX_BATCH_MS,
                "session.timeout.ms": self._settings.gate.session_ms,
                "heartbeat.interval.ms": self._settings.gate.session_ms // 3,
            },
        )

    def _assigned(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        client.assign(partitions)
        self._seen = {}
        self._paused = self._allowance() == 0
        if self._paused:
            client.pause(partitions)
        log.info(
            "partitions assigned", loop=self.name, partitions=[f"{one.topic}[{one.partition}]" for one in partitions]
        )

    def _begin_anew(self, client: Consumer, replaced: set[str]) -> None:
        """Read topics that were made anew from their first records on.

        The consumer hears nothing of it: where the new log is as long as the old one was, it would go on in the middle.
        What was taken from there already is a repeat, and the ledger drops it.
        """
        for topic in replaced:
            if topic not in self._persist(lambda topic=topic: self._watched.find([topic])):  # type: ignore[misc]
                # deleted, and not there yet
                continue
            places = [one.partition for one in client.assignment() if one.topic == topic]
            log.warning("the topic was made anew", loop=self.name, topic=topic, partitions=places)
            self._ids = {}
            starts = self._persist(lambda topic=topic, places=places: offsets.starts(client, topic, places))  # type: ignore[misc]
            for number, start in starts.items():
                self._go_back(client, TopicPartition(topic, number, start))
                self._seen.pop((topic, number), None)

    def _go_back(self, client: Consumer, place: TopicPartition) -> None:
        try:
            # who has not read up to where it was, and ends, must leave the next one the new beginning
            client.store_offsets(offsets=[place])
            client.commit(offsets=[place], asynchronous=False)
            client.seek(place)
        except KafkaException as error:
            # the partition moves: its next owner begins at what is committed
            log.warning("could not go back", loop=self.name, place=str(place), error=error.args[0].str())

    def _waits_briefly(self) -> bool:
        """Wait a moment where nothing may be read, and say so; False once that has lasted.

        A consumer that is paused forgets what it had fetched, and fetches it again: too dear for a few milliseconds.
        One that isn't asked for long hears of no rebalance: then it has to be paused.
        """
        if self._allowance() != 0:
            self._held_up_since = None
            return False
        now = time.monotonic()
        if self._held_up_since is None:
            self._held_up_since = now
        if self._paused or now - self._held_up_since > _BRIEF:
            return False
        self._stop.wait(_PAUSED_POLL)
        return True

    def _pause_or_resume(self, client: Consumer) -> None:
        wanted = self._allowance() == 0
        if wanted == self._paused:
            return
        assigned = client.assignment()
        if assigned:
            (client.pause if wanted else client.resume)(assigned)
            self._paused = wanted

    def _take(self, client: Consumer) -> list[Incoming]:
        """Return what is there, at most a batch and what is allowed; waits only where nothing is."""
        first = client.poll(_PAUSED_POLL if self._paused else _POLL)
        if first is None:
            return []
        allowed = self._allowance()
        batch = self._settings.gate.batch if allowed is None else min(self._settings.gate.batch, max(1, allowed))
        messages = [first, *client.consume(batch - 1, timeout=0)] if batch > 1 else [first]
        records = []
        for message in messages:
            if message.error() is None:
                records.append(Incoming.of(message))
            else:
                self._look_at(message.error())
        return records

    def _look_at(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        ):
            raise KafkaException(error)
        log.warning("the broker says", loop=self.name, error=error.str())

    def _identified(self, records: Sequence[Incoming]) -> list[Incoming]:
        """Return the records with their topics' ids; raises OSError where the broker can't be asked.

        Of a topic that is deleted and made anew the consumer hears nothing: the offsets just begin anew. Where they
        don't, it can only have gone on behind the last one, and an old id with a higher offset is no repeat either.
        """
        seen = dict(self._seen)
        identified = []
        for record in records:
            place = (record.topic, record.partition)
            if record.topic not in self._ids or record.offset <= seen.get(place, record.offset):
                self._ids = topic_ids(self._settings, self._topics)
            seen[place] = record.offset
            identified.append(replace(record, topic_id=self._ids[record.topic]))
        self._seen = seen
        return identified

    def _persist(self, decide: Callable[[], T]) -> T:
        """Decide, again and again while the broker or the registry can't be reached: that is no record's fault."""
        delay = _BACK_OFF
        while True:
            try:
                return decide()
            except OSError as error:
                log.warning("waiting", loop=self.name, error=str(error), seconds=delay)
                if self._stop.wait(delay):
                    raise StoppedError from error
                delay = min(delay * 2, _BACK_OFF_MAX)

    def _publish(self, publisher: Publisher, records: Sequence[Incoming], outgoing: Sequence[Outgoing]) -> None:
        sent = [_send(publisher, one) for one in outgoing]
        here(f"{self._points}.sent")
        self._await(sent)
        buried = [
            _send(publisher, dead_letter(self._dead, record, f"{out.topic.name}: {refusal}"))
            for record, out, future in zip(records, outgoing, sent, strict=True)
            if (refusal := self._refusal(out, future)) is not None
        ]
        self._await(buried)
        for future in buried:
            future.result()

    def _refusal(self, out: Outgoing, future: "Future[Delivered]") -> DeliveryError | None:
        """Return why the broker refused this one record; raises what isn't the record's own fault."""
        error = future.exception()
        if error is None:
            return None
        # what not even jobs.dead takes would be lost: better to stop and say so
        if isinstance(error, DeliveryError) and error.code in _RECORD_REFUSED and out.topic != self._dead:
            return error
        raise error

    def _await(self, futures: Sequence["Future[Delivered]"]) -> None:
        asked = 0.0
        while wait(futures, timeout=1.0).not_done:
            if self._stop.is_set():
                asked = asked or time.monotonic()
                if time.monotonic() - asked > _STOP_GRACE:
                    raise StoppedError

    def _store(self, client: Consumer, records: Sequence[Incoming]) -> None:
        reached = {(one.topic, one.partition): one.offset + 1 for one in records}
        for (topic, partition), offset in reached.items():
            try:
                client.store_offsets(offsets=[TopicPartition(topic, partition, offset)])
            except KafkaException as error:
                # the partition moved meanwhile: its new owner reads these records again
                if error.args[0].code() != KafkaError._STATE:
                    raise


def _send(publisher: Publisher, out: Outgoing) -> "Future[Delivered]":
    return publisher.send(out.topic, out.key, out.value, out.partition, out.headers)
