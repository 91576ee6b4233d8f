"""Facts from jobs.events: all of a job, and new ones as they come."""

import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

import orjson
from confluent_kafka import Message

from agents.registry import codec
from ops.reading.log import Log
from pipeline.codec import DecodeError
from pipeline.identity import family_of_job
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Inbox
from pipeline.settings import Settings
from pipeline.statuses import TERMINAL, Status

#: Jobs whose last `seq` a follower remembers: an older job's repeat would be shown again.
_REMEMBERED = 100_000
#: Nothing follows these but an explicit retry. A lost worker's job goes on by itself, or fails.
FINAL = TERMINAL - {Status.OFFLINE}


def status_of(fact: Fact) -> str:
    """Return the job's own status: where a fact records a refusal, it is not that of the fact."""
    return str(document_of(fact).get("status") or fact.status)


def document_of(fact: Fact) -> dict[str, Any]:
    """Return the fact's document; empty where it is no JSON object."""
    try:
        document = orjson.loads(fact.document)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def is_whole(fact: Fact) -> bool:
    """Say whether the fact carries the whole status document: one that records a refusal doesn't."""
    return "job" in document_of(fact)


class News(Protocol):
    """New facts, in each job's order, each once."""

    def next(self, timeout: float) -> Fact | None:
        """Return the next fact, None where none came within `timeout` seconds."""

    def close(self) -> None:
        """Let go of where they come from."""


class Facts(Protocol):
    """Where facts are read: `FactReader` is the log's."""

    def of_job(self, job_id: str) -> list[Fact]:
        """Return the job's facts by `seq`."""

    def of_family(self, family: str) -> Iterable[Fact]:
        """Return the facts of all jobs of a family in the order of the log, perhaps some twice."""

    def follow(self, families: Sequence[str] | None = None, only: Container[bytes] | None = None) -> News:
        """Return what follows the facts that are caused from now on, as `FactReader.follow` says."""

    def cause(self, fact: Fact) -> Inbox | None:
        """Return the inbox message that the fact was decided from; None where it is gone or can't be read."""


class FactReader:
    """Reads facts. Calls raise `ops.reading.log.BrokerError` where Kafka can't be reached.

    Repeats (the same job and `seq`, from an old owner of the partition) are returned once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topology = settings.topology
        self._codec = codec(settings)
        self._log = Log(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        self._log.close()

    def of_job(self, job_id: str, start: int = 0) -> list[Fact]:
        """Return the job's facts by `seq`; reads its family's partition from offset `start` to the end."""
        facts = {fact.seq: fact for fact in self.of_family(family_of_job(job_id), start) if fact.job_id == job_id}
        return [facts[seq] for seq in sorted(facts)]

    def of_family(self, family: str, start: int = 0) -> Iterator[Fact]:
        """Yield the facts of all jobs of a family in the order of the log, repeats included."""
        key = family.encode()
        for message in self._log.read(self._topology.events, self._partition(family), start):
            # most of a partition is other families': the key tells without decoding
            if message.key() == key and (fact := self._decoded(message)) is not None:
                yield fact

    def follow(self, families: Sequence[str] | None = None, only: Container[bytes] | None = None) -> "Follower":
        """Return a follower of what comes from now on, of these families' partitions or of all.

        It is assigned when this returns: what is caused afterwards is seen. `only` are the families that count where
        none are named; it is asked for each record, and so may change.
        """
        numbers = (
            list(range(self._topology.facts))
            if families is None
            else sorted({self._partition(family) for family in families})
        )
        log = Log(self._settings)
        log.follow(self._topology.events, log.ends(self._topology.events, numbers))
        keys = only if families is None else {family.encode() for family in families}
        return Follower(log, keys, self._decoded)

    def cause(self, fact: Fact) -> Inbox | None:
        """Return the inbox message that the fact was decided from; None where it is gone or can't be read."""
        place = (fact.inbox_partition, fact.inbox_offset, fact.inbox_offset + 1)
        for message in self._log.read(self._topology.inbox, *place):
            try:
                return Inbox.of(self._codec.decode("inbox", message.value()))
            except (DecodeError, KeyError, TypeError, ValueError):
                return None
        return None

    def _partition(self, family: str) -> int:
        return self._topology.fact_partition(self._topology.inbox_partition(family))

    def _decoded(self, message: Message) -> Fact | None:
        try:
            return Fact.of(self._codec.decode("fact", message.value()))
        except (DecodeError, KeyError, TypeError, ValueError):
            return None


class Follower:
    """New facts, in each job's order, each once."""

    def __init__(self, log: Log, keys: Container[bytes] | None, decoded: Callable[[Message], Fact | None]) -> None:
        self._log = log
        self._keys = keys
        self._decoded = decoded
        self._seen: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        self._log.close()

    def next(self, timeout: float) -> Fact | None:
        """Return the next fact, None where none came within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._log.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                return None
            fact = self._decoded(message) if self._keys is None or message.key() in self._keys else None
            if fact is not None and self._is_new(fact):
                return fact
            if time.monotonic() > deadline:
                return None

    def _is_new(self, fact: Fact) -> bool:
        if fact.seq <= self._seen.get(fact.job_id, 0):
            return False
        self._seen[fact.job_id] = fact.seq
        self._seen.move_to_end(fact.job_id)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True
