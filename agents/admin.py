"""Creating topics and keeping their settings as the topology has them (design §3)."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from agents.admin_client import admin_client, forget
from agents.bounded import bounded
from agents.bus import CALL_TIMEOUT, Publisher, client_config
from pipeline.crash_points import here
from pipeline.settings import Settings
from pipeline.topic import Topic
from pipeline.topology import QUEUE_NAME

CREATED, CHANGED, UNCHANGED = "created", "changed", "unchanged"

#: What waiting cures.
_PASSING = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        # a new partition's leader, known to some brokers and clients earlier than to others
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
    }
)


class TopicError(Exception):
    """The broker or the topology refuses, and waiting cures nothing; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it should be and as it is: `partitions` None where it is missing, `differing` as (is, should be)."""

    topic: Topic
    partitions: int | None
    differing: dict[str, tuple[str | None, str]] = field(default_factory=dict)

    @property
    def misfit(self) -> bool:
        """The topic exists with another number of partitions: no setting repairs that."""
        return self.partitions not in (None, self.topic.partitions)


def client(settings: Settings, client_id: str = "jobstream-admin") -> AdminClient:
    """Return an admin client; calls that take a client make one of their own where none is given."""
    return admin_client(client_config(settings, settings.topology.name(client_id)))


def describe(settings: Settings, admin: AdminClient | None = None) -> list[TopicState]:
    """Return the state of every fixed topic and of each queue's; OSError where the broker can't be reached."""
    admin = admin or client(settings)
    existing = _partitions(admin)
    queues = [queue for name in existing if (queue := settings.topology.queue_of(name)) is not None]
    topics = [*settings.topology.fixed(), *(settings.topology.run(queue) for queue in sorted(queues))]
    configs = _configs(admin, [topic.name for topic in topics if topic.name in existing])
    return [_state(topic, existing.get(topic.name), configs.get(topic.name, {})) for topic in topics]


def apply(settings: Settings) -> list[tuple[str, str]]:
    """Create what is missing, set what differs; return (topic, "created" | "changed" | "unchanged").

    Raises TopicError, before anything is changed, where a topic has another number of partitions than the settings:
    families would move between partitions, and their order would be lost. OSError where the broker can't be reached.
    """
    admin = client(settings)
    states = describe(settings, admin)
    check(states)
    missing = [state.topic for state in states if state.partitions is None]
    if settings.topology.inbox_generation > 1 and settings.topology.inbox in missing:
        raise TopicError(f"{settings.topology.inbox.name} is not there: only `jobstream ledger move` makes it")
    changed = [state for state in states if state.differing]
    _create(admin, missing, settings.topology.replication)
    _alter(admin, changed)
    await_leaders(admin, missing)
    outcome = {topic.name: CREATED for topic in missing} | {state.topic.name: CHANGED for state in changed}
    return [(state.topic.name, outcome.get(state.topic.name, UNCHANGED)) for state in states]


def check(states: Iterable[TopicState]) -> None:
    """Raise TopicError where a topic's number of partitions isn't that of the settings."""
    misfits = [
        f"{one.topic.name} has {one.partitions} partitions, the settings want {one.topic.partitions}"
        for one in states
        if one.misfit
    ]
    if misfits:
        raise TopicError(
            f"{'; '.join(misfits)}. Set JOBSTREAM_TOPICS__* to what exists, or use another JOBSTREAM_TOPICS__PREFIX"
        )


def check_ready(settings: Settings, admin: AdminClient | None = None) -> None:
    """Raise TopicError where a fixed topic but the changelogs is missing or has other partitions than the settings."""
    existing = _partitions(admin or client(settings))
    changelogs = {topic.name for topic in settings.topology.changelogs()}
    states = [TopicState(topic, existing.get(topic.name)) for topic in settings.topology.fixed()]
    check(states)
    missing = [one.topic.name for one in states if one.partitions is None and one.topic.name not in changelogs]
    if missing:
        raise TopicError(f"{', '.join(missing)}: no such topic; run `jobstream topics apply`")


def declare_queue(
    settings: Settings,
    name: str,
    *,
    admin: AdminClient | None = None,
    publisher: Publisher | None = None,
    paused: bool = False,
) -> None:
    """Create the queue's run topic, then say on jobs.settings that it is declared; repeating it does no harm.

    Raises TopicError for a name that is none or that the broker refuses, OSError where the broker can't be reached.
    """
    if not QUEUE_NAME.fullmatch(name):
        raise TopicError(f"{name[:200]!r} is no queue name, which is {QUEUE_NAME.pattern}")
    topic = settings.topology.run(name)
    admin = admin or client(settings)
    _create(admin, [topic], settings.topology.replication)
    await_leaders(admin, [topic])
    own = publisher is None
    publisher = publisher or Publisher(settings, settings.topology.name("jobstream-queues"))
    try:
        here("gate.queue-made")
        value = orjson.dumps({"declared": True, "paused": paused})
        publisher.send(settings.topology.settings, queue_key(name), value, 0).result(CALL_TIMEOUT)
    except TimeoutError as error:
        raise OSError(f"queue {name}: the broker took no record on jobs.settings in {CALL_TIMEOUT} s") from error
    finally:
        if own:
            publisher.close()


def remake(settings: Settings, topics: Sequence[Topic]) -> dict[str, str]:
    """Delete the topics that are there, make all of them anew, and return the new ones' ids by name.

    Raises TopicError where the broker refuses, OSError where it doesn't answer; called again it begins again.
    """
    admin = client(settings)
    delete(settings, topics, admin)
    _create(admin, list(topics), settings.topology.replication)
    await_leaders(admin, topics)
    return topic_ids(settings, [topic.name for topic in topics])


def grow(settings: Settings, topics: Sequence[Topic]) -> None:
    """Give topics that have fewer partitions as many as they should have; raises like `remake`."""
    admin = client(settings)
    there = _partitions(admin)
    asked = [NewPartitions(one.name, one.partitions) for one in topics if there[one.name] < one.partitions]
    if asked:
        for future in admin.create_partitions(asked, request_timeout=CALL_TIMEOUT).values():
            result(future)
    await_leaders(admin, topics)


def delete(settings: Settings, topics: Sequence[Topic], admin: AdminClient | None = None) -> None:
    """Delete the topics, in this order, and wait until they are gone; one that isn't there is as good."""
    admin = admin or client(settings)
    there = _partitions(admin)
    for topic in topics:
        if topic.name in there:
            result(admin.delete_topics([topic.name], operation_timeout=CALL_TIMEOUT)[topic.name])
    deadline = time.monotonic() + CALL_TIMEOUT
    while left := [topic.name for topic in topics if topic.name in _partitions(admin)]:
        if time.monotonic() > deadline:
            raise OSError(f"{', '.join(left)}: not deleted within {CALL_TIMEOUT} s")
        time.sleep(0.05)


def queue_key(name: str) -> str:
    """Return the key of a queue on jobs.settings."""
    return f"queue/{name}"


def await_leaders(admin: AdminClient, topics: Iterable[Topic]) -> None:
    """Wait until each partition has a leader, so that a producer finds it; OSError after CALL_TIMEOUT seconds."""
    wanted = {topic.name: topic.partitions for topic in topics}
    deadline = time.monotonic() + CALL_TIMEOUT
    while wanted:
        found = _metadata(admin).topics
        wanted = {
            name: number
            for name, number in wanted.items()
            if name not in found or sum(one.leader >= 0 for one in found[name].partitions.values()) < number
        }
        if wanted and time.monotonic() > deadline:
            raise OSError(f"no leaders for {', '.join(wanted)} after {CALL_TIMEOUT} s")
        if wanted:
            time.sleep(0.05)


def topic_ids(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """Return the broker's id of each topic; OSError where it can't be reached, TopicError where one isn't there."""
    asked = client(settings).describe_topics(TopicCollection(sorted(names)), request_timeout=CALL_TIMEOUT)
    return {name: str(result(future).topic_id) for name, future in asked.items()}


def result(future: "Future[Any]") -> Any:
    """Return an admin call's result; OSError for what waiting cures, TopicError for the rest."""
    try:
        return future.result(CALL_TIMEOUT * 2)
    except TimeoutError as error:
        raise OSError("the broker doesn't answer") from error
    except KafkaException as error:
        raise translated(error) from error


def translated(error: KafkaException) -> Exception:
    """Return the error as OSError where waiting cures it, else as TopicError."""
    cause: KafkaError = error.args[0]
    passing = cause.code() in _PASSING or cause.retriable()
    return OSError(cause.str()) if passing else TopicError(cause.str())


def _partitions(admin: AdminClient) -> dict[str, int]:
    return {name: len(one.partitions) for name, one in _metadata(admin).topics.items()}


def _metadata(admin: AdminClient) -> ClusterMetadata:
    try:
        return bounded(lambda: admin.list_topics(timeout=CALL_TIMEOUT), CALL_TIMEOUT)
    except KafkaException as error:
        raise translated(error) from error
    except TimeoutError as error:
        forget(admin)
        raise OSError("the broker doesn't answer") from error


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    answers = admin.describe_configs(resources, request_timeout=CALL_TIMEOUT)
    return {
        resource.name: {key: entry.value for key, entry in result(future).items()}
        for resource, future in answers.items()
    }


def _state(topic: Topic, partitions: int | None, config: dict[str, str]) -> TopicState:
    if partitions is None:
        return TopicState(topic, None)
    wanted = topic.config()
    return TopicState(
        topic,
        partitions,
        {key: (config.get(key), value) for key, value in wanted.items() if config.get(key) != value},
    )


def _create(admin: AdminClient, topics: list[Topic], replication: int) -> None:
    if not topics:
        return
    new = [NewTopic(one.name, one.partitions, replication, config=one.config()) for one in topics]
    for name, future in admin.create_topics(new, request_timeout=CALL_TIMEOUT).items():
        try:
            future.result(CALL_TIMEOUT * 2)
        except TimeoutError as error:
            raise OSError(f"{name}: the broker doesn't answer") from error
        except KafkaException as error:
            # two that start at once both create: the first one's is as good
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                cause = translated(error)
                raise type(cause)(f"{name}: {cause}") from error


def _alter(admin: AdminClient, states: list[TopicState]) -> None:
    if not states:
        return
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            one.topic.name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, (_, value) in one.differing.items()
            ],
        )
        for one in states
    ]
    for future in admin.incremental_alter_configs(resources, request_timeout=CALL_TIMEOUT).values():
        result(future)
