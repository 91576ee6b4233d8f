"""The roles, and the rights that each needs: no more than its processes use.

Topics are made, and rights are given, by whoever installs: a super user of the brokers, which no role is.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from pipeline.rights.right import Operation, Resource, Right
from pipeline.topic import Topic
from pipeline.topology import UNUSED_GROUP, Topology

#: The sink's group where its settings name no other.
SINK_GROUP = "jobstream-sink"


class Role(StrEnum):
    """Who there is; a value is the name of the principal too, where none is given."""

    PRODUCER = "producer"
    GATE = "gate"
    ORCHESTRATOR = "orchestrator"
    SCHEDULER = "scheduler"
    WORKER = "worker"
    TASK_WORKER = "task-worker"
    SINK = "sink"
    OPERATOR = "operator"


def rights_of(
    role: Role,
    topology: Topology,
    sink_group: str = SINK_GROUP,
    principal: str | None = None,
    *,
    sealing: bool = False,
) -> list[Right]:
    """Return a role's rights, sorted; `sink_group` is as the sink's settings have it, without the prefix.

    `principal` is the one of `topology.principals` that a producer is, None for one that nobody knows. With `sealing`
    workers read nothing that has jobs' documents.
    """
    match role:
        case Role.PRODUCER:
            found = _write([topology.submit_of(principal)])
        case Role.GATE:
            found = _gate(topology)
        case Role.ORCHESTRATOR:
            found = _orchestrator(topology)
        case Role.SCHEDULER:
            found = _scheduler(topology)
        case Role.WORKER:
            found = _worker(topology, sealing)
        case Role.TASK_WORKER:
            found = _task_worker(topology)
        case Role.SINK:
            found = _sink(topology, sink_group)
        case Role.OPERATOR:
            found = _operator(topology, sink_group)
    # whoever reads without a group asks for this one's coordinator
    unused = Right(Resource.GROUP, topology.name(UNUSED_GROUP), Operation.DESCRIBE)
    return sorted({*found, *([] if role is Role.PRODUCER else [unused])})


def _gate(topology: Topology) -> Iterator[Right]:
    yield from _read([*topology.submits(), topology.reports, topology.control, topology.settings])
    yield from _write([topology.inbox, topology.settings, topology.dead])
    yield from _see(topology.fixed())
    # a queue is declared by its first job
    yield from _runs(topology, Operation.CREATE, Operation.DESCRIBE)
    yield from _groups(topology, "jobstream-gate-", prefixed=True)
    # how far the ledger is behind
    yield Right(Resource.GROUP, topology.name(topology.ledger_id), Operation.DESCRIBE)


def _orchestrator(topology: Topology) -> Iterator[Right]:
    # jobs.settings says which generation of the inbox is the newest, and there it says which protocol it speaks
    yield from _read([topology.inbox, topology.settings, *topology.changelogs()])
    own = [topology.events, topology.commands, topology.dead, *topology.changelogs()]
    # to the inbox what fell due; ticks take the heartbeats' road
    yield from _write([*own, topology.inbox, topology.reports, topology.settings])
    yield from _see(topology.fixed())
    yield from _runs(topology, Operation.WRITE)
    yield from _groups(topology, topology.ledger_id)


def _scheduler(topology: Topology) -> Iterator[Right]:
    yield from _read([topology.status, topology.settings])
    yield from _runs(topology, Operation.READ)
    yield from _write([topology.inbox, topology.view])
    yield from _see(topology.fixed())
    yield from _groups(topology, "jobstream-scheduler", prefixed=True)


def _worker(topology: Topology, sealing: bool) -> Iterator[Right]:
    # the inbox has those run documents that are too large for a command; sealed grants are whole
    yield from _read([topology.commands, topology.settings, *([] if sealing else [topology.inbox])])
    yield from _write([topology.reports, topology.status, topology.logs, topology.datasets])


def _task_worker(topology: Topology) -> Iterator[Right]:
    queues = [topology.tasks(queue) for queue in topology.task_queues]
    yield from _read([*queues, topology.task_retries])
    own = [*queues, topology.task_retries, topology.task_events, topology.dead]
    yield from _write(own)
    # it begins only where they are as they should be
    yield from (Right(Resource.TOPIC, topic.name, Operation.DESCRIBE_CONFIGS) for topic in own)
    yield from _groups(topology, "jobstream-tasks-", prefixed=True)
    yield from _groups(topology, "jobstream-task-worker")
    # how long a share group holds a record
    yield Right(Resource.GROUP, topology.name("jobstream-tasks-"), Operation.ALTER_CONFIGS, prefixed=True)


def _sink(topology: Topology, group: str) -> Iterator[Right]:
    yield from _read([topology.events, topology.task_events, topology.datasets])
    yield from _write([topology.dead])
    yield from _groups(topology, group)


def _operator(topology: Topology, sink_group: str) -> Iterator[Right]:
    yield from _read(topology.fixed())
    for topic in topology.fixed():
        yield Right(Resource.TOPIC, topic.name, Operation.DESCRIBE_CONFIGS)
    yield from _runs(topology, Operation.READ, Operation.CREATE, Operation.DESCRIBE_CONFIGS)
    # to everybody's topic for submissions: a dead letter that is sent again stays its sender's
    asked = [*topology.submits(), topology.control, topology.settings, topology.dead_notes, topology.datasets]
    # to tasks.events that a task waits
    yield from _write([*asked, topology.task_events, *(topology.tasks(queue) for queue in topology.task_queues)])
    # how far each is
    for group in (topology.ledger_id, sink_group):
        yield Right(Resource.GROUP, topology.name(group), Operation.DESCRIBE)
    yield Right(Resource.GROUP, topology.name("jobstream-gate-"), Operation.DESCRIBE, prefixed=True)


def _read(topics: Iterable[Topic]) -> Iterator[Right]:
    return (Right(Resource.TOPIC, topic.name, Operation.READ) for topic in topics)


def _write(topics: Iterable[Topic]) -> Iterator[Right]:
    return (Right(Resource.TOPIC, topic.name, Operation.WRITE) for topic in topics)


def _see(topics: Iterable[Topic]) -> Iterator[Right]:
    return (Right(Resource.TOPIC, topic.name, Operation.DESCRIBE) for topic in topics)


def _runs(topology: Topology, *operations: Operation) -> Iterator[Right]:
    return (Right(Resource.TOPIC, topology.name("jobs.run."), one, prefixed=True) for one in operations)


def _groups(topology: Topology, name: str, *, prefixed: bool = False) -> Iterator[Right]:
    yield Right(Resource.GROUP, topology.name(name), Operation.READ, prefixed)
