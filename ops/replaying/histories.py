"""A job's history from the log, or from a file that one was exported to."""

import sys
from pathlib import Path

from agents.registry import codec
from ops.reading.log import Log
from ops.replaying.reading import Tell, records, silent
from ops.replaying.recorded_facts import span
from pipeline import __version__
from pipeline.codec import DecodeError
from pipeline.identity import family_of_job
from pipeline.messages.fact import Fact
from pipeline.replay.history import History, HistoryError
from pipeline.replay.selection import Selection
from pipeline.settings import Settings

#: Bytes of a file that is taken for a history.
_LARGEST = 1 << 30


def from_log(settings: Settings, job_id: str, tell: Tell = silent) -> History | None:
    """Return the job's history from the log, None where neither inbox nor facts know the job.

    Reads the job's inbox partition from its beginning; raises BrokerError where Kafka can't be reached.
    """
    topology = settings.topology
    partition = topology.job_partition(job_id)
    selection = Selection(job_id, codec(settings))
    with Log(settings, follows=False) as log:
        begins, ends = log.bounds(topology.inbox, partition)
        for message in records(log, topology.inbox, partition, begins, ends, tell):
            selection.take(message.offset(), message.timestamp()[1], message.key(), message.value())
        # after the inbox: of what was read above, all that is decided by now is there
        facts = _facts(settings, log, job_id, tell)
    found = selection.records()
    known = any(job_id in str(one.message.record()) for one in found if one.message is not None)
    if not facts and not known:
        return None
    return History(job_id, partition, found, facts, begins, ends, __version__)


def _facts(settings: Settings, log: Log, job_id: str, tell: Tell) -> tuple[Fact, ...]:
    """Return the job's facts in the order of the log, without repeats.

    One that was forgotten and submitted again is numbered anew: of its facts several may have one number.
    """
    topology, made = settings.topology, codec(settings)
    key = family_of_job(job_id).encode()
    where = span(settings, log, topology.job_partition(job_id))
    facts: dict[tuple[int, int], Fact] = {}
    for message in records(log, topology.events, where.partition, where.first, where.end, tell):
        if message.key() != key:
            continue
        try:
            fact = Fact.of(made.decode("fact", message.value()))
        except (DecodeError, KeyError, TypeError, ValueError):
            continue
        if fact.job_id == job_id:
            facts.setdefault((fact.inbox_offset, fact.index), fact)
    return tuple(facts.values())


def from_file(path: Path) -> History:
    """Return the history in a file, `-` being standard input; raises HistoryError where it holds none."""
    if str(path) == "-":
        data = sys.stdin.buffer.read(_LARGEST)
    else:
        if path.stat().st_size > _LARGEST:
            raise HistoryError(f"{path} is larger than any history")
        data = path.read_bytes()
    try:
        return History.load(data)
    except HistoryError as error:
        raise HistoryError(f"{path}: {error}") from error
