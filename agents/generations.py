"""The inbox's generations: each has more partitions than the one before, and a record on jobs.settings when whole.

The first has none. A generation is begun by `jobstream ledger move` alone.
"""

import threading
from dataclasses import dataclass
from typing import Any, Self

import orjson
from confluent_kafka import KafkaException

from agents.admin import TopicError
from agents.bus import consumer, read_to_end
from agents.patience import patiently
from pipeline.settings import Settings

_KEY = "inbox/"
#: s for which a start waits for the broker
_START = 60.0


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation from the second on.

    `facts` has the offset of each partition of jobs.events from which on facts are of this generation, `taken` that of
    each partition of jobs.submit from which on submissions go into its inbox.
    """

    number: int
    partitions: int
    fact_partitions: int
    inbox_id: str
    facts: tuple[int, ...]
    taken: tuple[int, ...]

    @property
    def key(self) -> str:
        """The key on jobs.settings."""
        return f"{_KEY}{self.number}"

    def dump(self) -> bytes:
        """Return the record's value."""
        return orjson.dumps(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Build it from its JSON; raises TypeError, KeyError or ValueError for anything else."""
        return cls(**{**values, "facts": tuple(values["facts"]), "taken": tuple(values["taken"])})


def generations(settings: Settings) -> dict[int, Generation]:
    """Return the generations that are whole, by number; raises OSError where the broker doesn't say."""
    client = consumer(settings, settings.topology.name("jobstream-generations"))
    found: dict[int, Generation] = {}
    try:
        for message in read_to_end(client, settings.topology.settings.name, [0]):
            key = (message.key() or b"").decode("utf-8", "replace")
            if key.startswith(_KEY) and message.value():
                one = Generation.of(orjson.loads(message.value()))
                found[one.number] = one
    except KafkaException as error:
        raise OSError(f"{settings.topology.settings.name} can't be read: {error.args[0].str()}") from error
    finally:
        client.close()
    return found


def check(settings: Settings, ended: threading.Event | None = None) -> None:
    """Raise TopicError where the settings name another generation of the inbox than the newest.

    A broker that doesn't say, whose new topics have no leaders at first, is asked again for a minute, or until `ended`
    is set; then OSError.
    """
    known = patiently(lambda: generations(settings), _START, ended)
    newest, wanted = max(known, default=1), settings.topology.inbox_generation
    if wanted < newest:
        raise TopicError(
            f"the inbox is in generation {newest}: set {', '.join(variables(known[newest]))} for all processes"
        )
    if wanted > newest:
        raise TopicError(
            f"the inbox is in generation {newest}, not {wanted}: `jobstream ledger move` makes the next one"
        )


def variables(generation: Generation) -> tuple[str, ...]:
    """Return the settings of a generation, as variables."""
    return (
        f"JOBSTREAM_TOPICS__INBOX_GENERATION={generation.number}",
        f"JOBSTREAM_TOPICS__INBOX_PARTITIONS={generation.partitions}",
        f"JOBSTREAM_TOPICS__FACT_PARTITIONS={generation.fact_partitions}",
    )
