"""Sends a range of submissions again: to another topic, under new ids, marked."""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import TopicMetadata

from agents.admin_client import admin_client
from agents.bus import Delivered, Publisher, client_config
from agents.registry import codec
from ops.reading.log import REACH_TIMEOUT, BrokerError, Log, NoTopicError
from ops.replaying.reading import Tell, records, silent
from pipeline.partitioning import partition_of
from pipeline.replay.resubmission import Again, Resubmission, SkippedError
from pipeline.settings import Settings
from pipeline.topic import Topic

#: Who sent a submission, None where nobody vouches for that.
Sender = str | None
#: Records under way at a time, and s that each may take.
_UNDER_WAY, _DELIVERY = 500, 60.0


class WrongTopicError(ValueError):
    """The topic to send to is none to send to; the text says what to do."""


@dataclass(slots=True)
class Sent:
    """What was sent again, by type and by known sender, and what was left out, by why."""

    types: Counter[str] = field(default_factory=Counter)
    senders: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many were sent."""
        return sum(self.types.values())

    def add(self, sender: Sender, one: Again) -> None:
        """Count one that was sent."""
        self.types[one.job_type] += 1
        if sender is not None:
            self.senders[sender] += 1


def senders(settings: Settings, since: int, until: int, *, common_only: bool = False) -> list[Sender]:
    """Return by whose topics anything came from `since` up to `until` (ms), None for jobs.submit, which comes first.

    Who is named before `topics apply` has made its topic sent nothing yet.
    """
    known: list[Sender] = [None, *([] if common_only else settings.topology.principals)]
    with Log(settings, follows=False) as log:
        return [one for one in known if one is None or _sent(log, settings, one, since, until)]


def targets(settings: Settings, name: str, by: Iterable[Sender], *, force: bool) -> dict[Sender, Topic]:
    """Return where each sender's are sent: a known one's to its own topic beside `name`, so that it stays known.

    Raises like `target`.
    """
    found: dict[Sender, Topic] = {None: target(settings, name, force=force)}
    for sender in by:
        if sender is not None:
            try:
                found[sender] = target(settings, f"{name}.{sender}", force=force)
            except WrongTopicError as error:
                raise WrongTopicError(
                    f"what {sender} sent goes to {name}.{sender}: {error}; --common-only leaves out known senders"
                ) from error
    return found


def target(settings: Settings, name: str, *, force: bool) -> Topic:
    """Return the topic to send to, as it is on the broker.

    Raises WrongTopicError where it isn't there, is a topic of this installation that takes no submissions, or is the
    one that the submissions come from and that isn't forced.
    """
    topology = settings.topology
    if name in {topic.name for topic in topology.submits()} and not force:
        raise WrongTopicError(
            f"{name} is where they come from: this installation would take them once more; --force if that is wanted"
        )
    own = {topic.name for topic in topology.fixed()} - {topic.name for topic in topology.submits()}
    if name in own or topology.queue_of(name) is not None:
        raise WrongTopicError(f"{name} takes no submissions")
    found = _described(settings, name)
    if found is None or found.error is not None or not found.partitions:
        raise WrongTopicError(
            f"there is no topic {name}: create it first, or `jobstream topics apply` where it belongs"
        )
    return Topic(name, len(found.partitions), "any", "jobstream replay", "submission", None)


def read(
    settings: Settings,
    wanted: Resubmission,
    by: Collection[Sender],
    since: int,
    until: int,
    sent: Sent,
    tell: Tell = silent,
) -> Iterator[tuple[Sender, Again]]:
    """Yield what is to be sent again of these senders', from `since` up to `until` (ms); `sent` counts what isn't."""
    made = codec(settings)
    with Log(settings, follows=False) as log:
        for sender in by:
            topic = settings.topology.submit_of(sender)
            for number, (start, end) in _spans(log, settings, sender, since, until).items():
                for message in records(log, topic, number, start, end, tell):
                    place = (topic.name, number, message.offset())
                    try:
                        yield sender, wanted.of(made, place, message.value(), message.headers() or (), message.key())
                    except SkippedError as error:
                        sent.skipped[str(error)] += 1


def _sent(log: Log, settings: Settings, sender: Sender, since: int, until: int) -> bool:
    """Say whether anything came by a sender's topic."""
    try:
        return bool(_spans(log, settings, sender, since, until))
    except NoTopicError:
        return False


def _spans(log: Log, settings: Settings, sender: Sender, since: int, until: int) -> dict[int, tuple[int, int]]:
    """Return where in a sender's topic there is anything of a time, by partition."""
    topic = settings.topology.submit_of(sender)
    numbers = range(topic.partitions)
    starts, ends = log.since(topic, numbers, since), log.since(topic, numbers, until)
    return {number: (starts[number], ends[number]) for number in numbers if starts[number] < ends[number]}


def send(
    settings: Settings,
    topics: Mapping[Sender, Topic],
    submissions: Iterator[tuple[Sender, Again]],
    sent: Sent,
    rate: float | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Send submissions to their senders' topics, at most `rate` a second, and await them; raises DeliveryError.

    What was sent before an error is there, and counted in `sent`.
    """
    publisher = Publisher(settings, settings.topology.name("jobstream-replay"))
    under_way: deque[tuple[Sender, Again, Future[Delivered]]] = deque()
    begun, count = time.monotonic(), 0
    try:
        for sender, one in submissions:
            if rate is not None:
                wait(max(0.0, begun + count / rate - time.monotonic()))
            count += 1
            topic = topics[sender]
            partition = partition_of(one.submission_id, topic.partitions)
            under_way.append((sender, one, publisher.send(topic, one.submission_id, one.value, partition, one.headers)))
            if len(under_way) >= _UNDER_WAY:
                _await(under_way, sent)
        while under_way:
            _await(under_way, sent)
    finally:
        publisher.close()


def _await(under_way: "deque[tuple[Sender, Again, Future[Delivered]]]", sent: Sent) -> None:
    sender, one, future = under_way.popleft()
    future.result(_DELIVERY)
    sent.add(sender, one)


def _described(settings: Settings, name: str) -> TopicMetadata | None:
    client = admin_client(client_config(settings, settings.topology.name("jobstream-replay")))
    try:
        return client.list_topics(name, timeout=REACH_TIMEOUT).topics.get(name)
    except KafkaException as error:
        raise BrokerError(f"Kafka at {settings.kafka.bootstrap} can't be reached: {error.args[0].str()}") from error
