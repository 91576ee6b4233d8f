"""Job types: registering them, and reading what is registered. Raises BrokerError or OSError without Kafka."""

from collections.abc import Iterable
from dataclasses import dataclass

from agents import admin
from agents.bus import Publisher
from agents.job_types import PREFIX, decoded, publish, withdraw
from ops.reading.queues import queue_settings
from ops.reading.table import read_table
from pipeline.jobtypes.job_type import JobType
from pipeline.settings import Settings

REGISTERED, REPLACED, UNCHANGED = "registered", "replaced", "unchanged"


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered type, when it was (ms); `error` says why it can't be used, and then there is no type."""

    id: str
    time: int
    job_type: JobType | None
    error: str = ""


def registered(settings: Settings) -> dict[str, Entry]:
    """Return the registered types by id, in their order."""
    rows = read_table(settings, settings.topology.settings)
    found = {}
    for key, row in sorted(rows.items()):
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        try:
            found[name] = Entry(name, row.time, decoded(key, row.value))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            found[name] = Entry(name, row.time, None, str(error))
    return found


def register(settings: Settings, types: Iterable[JobType]) -> list[tuple[JobType, str]]:
    """Register types and declare their queues; return what became of each. Repeating it does no harm.

    A queue is declared before the type that needs it. Raises DeliveryError and TopicError too.
    """
    known, queues = registered(settings), set(queue_settings(settings))
    done = []
    publisher = Publisher(settings, settings.topology.name("jobstream-jobtypes"))
    try:
        for job_type in types:
            if job_type.queue not in queues:
                admin.declare_queue(settings, job_type.queue, publisher=publisher)
                queues.add(job_type.queue)
            before = known.get(job_type.id)
            same = before is not None and before.job_type is not None and before.job_type.dump() == job_type.dump()
            if not same:
                publish(settings, job_type, publisher)
            done.append((job_type, UNCHANGED if same else REPLACED if before else REGISTERED))
    finally:
        publisher.close(0.1)
    return done


def remove(settings: Settings, type_id: str) -> bool:
    """Forget a type; jobs that it made stay as they are. Returns whether there was one."""
    if type_id not in registered(settings):
        return False
    publisher = Publisher(settings, settings.topology.name("jobstream-jobtypes"))
    try:
        withdraw(settings, type_id, publisher)
    finally:
        publisher.close(0.1)
    return True


def named(entries: Iterable[str], name: str) -> list[str]:
    """Return the ids that a name means: the id itself with or without `job:`, else each version of it.

    >>> named(["job-a:v1", "job-a:v2", "job-b:v1"], "a"), named(["job-a:v1"], "job:job-a:v1")
    (['job-a:v1', 'job-a:v2'], ['job-a:v1'])
    """
    ids = list(entries)
    for one in (name, name.removeprefix("job:"), f"job-{name}"):
        if one in ids:
            return [one]
    bare = f"job-{name.removeprefix('job:').removeprefix('job-')}:"
    return [one for one in ids if one.startswith(bare)]
