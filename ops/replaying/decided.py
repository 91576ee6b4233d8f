"""How far agents are: what is behind their positions is done, and seen by whoever reads afterwards."""

from collections.abc import Iterable

from agents import offsets
from agents.bus import consumer
from ops.reading.log import BrokerError
from pipeline.settings import Settings
from pipeline.topic import Topic


def gate_group(principal: str | None) -> str:
    """Return the gate's group for a principal's submissions, None: for those of jobs.submit."""
    return "jobstream-gate-submit" if principal is None else f"jobstream-gate-submit.{principal}"


def decided(settings: Settings, partitions: Iterable[int]) -> dict[int, int]:
    """Return for inbox partitions the offset up to which the ledger has decided all."""
    return positions(settings, settings.topology.ledger_id, settings.topology.inbox, partitions)


def positions(settings: Settings, group: str, topic: Topic, partitions: Iterable[int]) -> dict[int, int]:
    """Return what a group committed of partitions, without those where it never did, or so long ago that it is gone.

    Raises BrokerError where the broker doesn't answer.
    """
    name = settings.topology.name
    client = consumer(settings, name("jobstream-reader"), name(group), log_level=0)
    try:
        return offsets.committed(client, topic.name, partitions)
    except OSError as error:
        raise BrokerError(f"how far {name(group)} is can't be asked: {error}") from error
    finally:
        client.close()
