"""The inbox's identity: a ledger's tables belong to one inbox topic, and to no other (design §4)."""

from dataclasses import dataclass

from confluent_kafka import Consumer, TopicCollection

from agents import offsets
from agents.admin_client import admin_client
from agents.bus import CALL_TIMEOUT, client_config, consumer
from agents.patience import patiently
from pipeline.settings import Settings
from pipeline.topology import Topology


class WrongInboxError(Exception):
    """The tables were built from another inbox, or the inbox lost records; the text says what to do."""


def inbox_id(settings: Settings) -> str:
    """Return the inbox's topic id; raises KafkaException where it can't be had."""
    name = settings.topology.inbox.name
    client = admin_client(client_config(settings, "jobstream-orchestrator-admin"))
    described = client.describe_topics(TopicCollection([name]), request_timeout=CALL_TIMEOUT)
    return str(described[name].result(CALL_TIMEOUT).topic_id)


@dataclass(frozen=True, slots=True)
class Bounds:
    """An inbox partition: its first offset and its end, and up to where the ledger has committed; None: nowhere yet."""

    first: int
    end: int
    committed: int | None

    @property
    def begins(self) -> int:
        """The first offset that an owner reads."""
        return self.first if self.committed is None else max(self.first, self.committed)


def inbox_bounds(settings: Settings) -> dict[int, Bounds]:
    """Return the bounds of each partition of the inbox; raises OSError where they can't be had within CALL_TIMEOUT."""
    topology = settings.topology
    # asks in the name of the group, and is never a member
    client = consumer(settings, "jobstream-orchestrator-ends", topology.name(topology.ledger_id))
    try:
        return patiently(lambda: _bounds(client, topology), CALL_TIMEOUT)
    finally:
        client.close()


def _bounds(client: Consumer, topology: Topology) -> dict[int, Bounds]:
    numbers = range(topology.inbox_partitions)
    committed = offsets.committed(client, topology.inbox.name, numbers)
    firsts = offsets.starts(client, topology.inbox.name, numbers)
    ends = offsets.ends(client, topology.inbox.name, numbers)
    return {number: Bounds(firsts[number], ends[number], committed.get(number)) for number in numbers}


def check(partition: int, stored_id: str | None, actual_id: str, highest: int, end: int) -> None:
    """Raise WrongInboxError where the tables were not built from this inbox."""
    cure = (
        "bring back the inbox that the tables were built from, or start a new installation: "
        "another topic prefix (JOBSTREAM_TOPICS__PREFIX) and an empty home"
    )
    if stored_id is not None and stored_id != actual_id:
        raise WrongInboxError(
            f"partition {partition}: the ledger was built from inbox {stored_id}, this one is {actual_id}; {cure}"
        )
    if end <= highest:
        raise WrongInboxError(
            f"partition {partition}: the ledger includes inbox offset {highest}, but the inbox ends at {end}; {cure}"
        )
