"""Every operation that a broker can refuse, tried by every role: the table in docs/security.md is what came of it."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from agents import admin
from agents.bus import DeliveryError, Publisher, consumer
from pipeline.settings import Settings
from pipeline.topic import Topic
from pipeline.topology import ORCHESTRATOR_ID, Topology
from tests.waiting import PATIENCE

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- rights: begin -->", "<!-- rights: end -->"
REFUSALS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_TIMEOUT = 20 * PATIENCE
#: made by nobody's right but a super user's
OTHER = "other-topic"
QUEUE = "hillshade"
#: one that is tried to be deleted
DELETED = "unused"


@dataclass(frozen=True)
class Column:
    """Who tries, as the table calls it, and with which settings."""

    name: str
    settings: Settings


def topics(topology: Topology) -> list[tuple[str, Topic]]:
    """Each topic by the name that the table gives it; of the changelogs and run topics one stands for all."""
    changelogs = {topic.name for topic in topology.changelogs()}
    named = [(one.name.removeprefix(topology.prefix), one) for one in topology.fixed() if one.name not in changelogs]
    named = [(name.replace("default", "QUEUE"), one) for name, one in named]
    runs = ("jobs.run.QUEUE", topology.run(QUEUE))
    return [*named, runs, ("the ledger's changelogs", topology.changelogs()[0])]


def groups(topology: Topology) -> list[tuple[str, str]]:
    names = [
        "jobstream-gate-submit",
        ORCHESTRATOR_ID,
        "jobstream-scheduler",
        "jobstream-sink",
        "jobstream-tasks-default",
    ]
    return [(f"be a member of {name.replace('default', 'QUEUE')}", topology.name(name)) for name in names]


def prepare(settings: Settings) -> None:
    """Make the topics, and put a record into each, so that whoever may read finds one."""
    admin.apply(settings)
    for queue in (QUEUE, DELETED):
        admin.declare_queue(settings, queue)
    publisher = Publisher(settings, "test")
    for future in [publisher.send(topic, "key", b"{}", 0) for _, topic in topics(settings.topology)]:
        future.result(_TIMEOUT)
    publisher.close()


def tried(columns: Iterable[Column]) -> dict[str, dict[str, bool]]:
    """Return for each operation and column whether the broker allowed it."""
    known = list(columns)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda one: dict(_all(one.settings)), known))
    return {
        operation: {column.name: outcome[operation] for column, outcome in zip(known, outcomes, strict=True)}
        for operation in outcomes[0]
    }


def table(outcomes: dict[str, dict[str, bool]]) -> str:
    """Return them in Markdown."""
    columns = list(next(iter(outcomes.values())))
    lines = [f"| operation | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for operation, by_column in outcomes.items():
        cells = ["allowed" if by_column[column] else "–" for column in columns]
        lines.append(f"| {operation} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _all(settings: Settings) -> Iterator[tuple[str, bool]]:
    yield from _writes(settings)
    yield from _reads(settings)
    client = admin.client(settings)
    topology = settings.topology
    for name, group in groups(topology):
        yield name, _may_commit(client, group, topology.inbox)
    yield "declare a queue: make its topic", _makes(client, topology.name("jobs.run.new"))
    yield "make another topic", _makes(client, topology.name(OTHER))
    yield "delete a topic", _allowed(lambda: client.delete_topics([topology.run(DELETED).name]))
    yield "change a topic's settings", _allowed(lambda: _alters(client, topology.events.name))
    yield "give rights", _allowed(lambda: _grants(client))


def _writes(settings: Settings) -> Iterator[tuple[str, bool]]:
    publisher = Publisher(settings, "test", **{"message.timeout.ms": int(_TIMEOUT * 1000)})
    # a changelog or run record of no table or job, like all that is written here, harms nobody: no agent reads this
    sent = [(name, publisher.send(topic, "key", b"{}", 0)) for name, topic in topics(settings.topology)]
    for name, future in sent:
        try:
            future.result(_TIMEOUT)
            yield f"write {name}", True
        except DeliveryError as error:
            assert error.code in REFUSALS, f"{name}: {error}"
            yield f"write {name}", False
    publisher.close()


def _reads(settings: Settings) -> Iterator[tuple[str, bool]]:
    named = topics(settings.topology)
    client = consumer(settings, "test", log_level=0)
    # of a topic whose very name may not be known a consumer hears nothing, not even a refusal
    found = {topic.name: False for _, topic in named if _is_hidden(client, topic)}
    client.assign([TopicPartition(topic.name, 0, 0) for _, topic in named if topic.name not in found])
    deadline = time.monotonic() + _TIMEOUT
    while len(found) < len(named):
        message = client.poll(0.5)
        if message is not None and message.error() is None:
            found[message.topic()] = True
        elif message is not None and message.error().code() in REFUSALS and message.topic():
            found[message.topic()] = False
        assert time.monotonic() < deadline, {topic.name for _, topic in named} - found.keys()
    client.close()
    for name, topic in named:
        yield f"read {name}", found[topic.name]


def _is_hidden(client: Consumer, topic: Topic) -> bool:
    error = client.list_topics(topic.name, timeout=_TIMEOUT).topics[topic.name].error
    return error is not None and error.code() in REFUSALS


def _allowed(call: Callable[[], dict]) -> bool:
    (future,) = call().values()
    try:
        future.result(_TIMEOUT)
    except KafkaException as error:
        assert error.args[0].code() in REFUSALS, error
        return False
    return True


def _may_commit(client: AdminClient, group: str, topic: Topic) -> bool:
    wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic.name, 0, 0)])]
    (future,) = client.alter_consumer_group_offsets(wanted).values()
    try:
        (place,) = future.result(_TIMEOUT).topic_partitions
    except KafkaException as error:
        assert error.args[0].code() in REFUSALS, error
        return False
    # that the topic is refused is another right's business
    return place.error is None or place.error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED


def _makes(client: AdminClient, name: str) -> bool:
    return _allowed(lambda: client.create_topics([NewTopic(name, 1, 1)], validate_only=True))


def _alters(client: AdminClient, name: str) -> dict:
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    wanted = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    return client.incremental_alter_configs([wanted], validate_only=True)


def _grants(client: AdminClient) -> dict:
    right = (AclOperation.DESCRIBE, AclPermissionType.ALLOW)
    return client.create_acls([AclBinding(ResourceType.TOPIC, "x", ResourcePatternType.LITERAL, "User:x", "*", *right)])
