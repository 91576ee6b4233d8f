"""The table of rights: what follows from the topology, and what no role may have."""

import pytest

from pipeline.rights import Operation, Resource, Right, Role, rights_of
from pipeline.topology import Topology

TOPOLOGY = Topology(prefix="a-", principals=("alice",), task_queues=("default", "rules"))
AGENTS = [role for role in Role if role is not Role.PRODUCER]


def may(role: Role, operation: Operation, topic: str, principal: str | None = None) -> bool:
    rights = rights_of(role, TOPOLOGY, principal=principal)
    return any(right.covers(Resource.TOPIC, TOPOLOGY.name(topic), operation) for right in rights)


def test_every_topic_is_written_and_read_by_somebody() -> None:
    for topic in [*TOPOLOGY.fixed(), TOPOLOGY.run("hillshade")]:
        name = topic.name.removeprefix("a-")
        for operation in (Operation.READ, Operation.WRITE):
            assert any(may(role, operation, name) for role in AGENTS), f"{operation} {name}"


def test_a_right_of_one_prefix_says_nothing_about_another_installation() -> None:
    for role in Role:
        for right in rights_of(role, TOPOLOGY):
            assert right.name.startswith("a-"), right


def test_nobody_but_gate_scheduler_and_ledger_writes_the_inbox() -> None:
    writers = [role for role in Role if may(role, Operation.WRITE, "jobs.inbox")]
    assert writers == [Role.GATE, Role.ORCHESTRATOR, Role.SCHEDULER]


@pytest.mark.parametrize("role", [Role.GATE, Role.ORCHESTRATOR])
def test_who_begins_only_with_the_newest_inbox_may_read_which_that_is(role: Role) -> None:
    assert may(role, Operation.READ, "jobs.settings")


def test_an_orchestrator_may_say_which_protocol_it_speaks_and_a_worker_may_not() -> None:
    assert may(Role.ORCHESTRATOR, Operation.WRITE, "jobs.settings")
    assert not may(Role.WORKER, Operation.WRITE, "jobs.settings")


@pytest.mark.parametrize("topic", ["jobs.submit", "jobs.submit.bob", "jobs.control", "jobs.settings"])
def test_a_known_producer_writes_its_own_topic_alone(topic: str) -> None:
    assert may(Role.PRODUCER, Operation.WRITE, "jobs.submit.alice", "alice")
    assert not may(Role.PRODUCER, Operation.WRITE, topic, "alice")


def test_whose_topic_it_is_a_name_tells_only_for_declared_principals() -> None:
    assert TOPOLOGY.principal_of("a-jobs.submit.alice") == "alice"
    for name in ("a-jobs.submit.bob", "a-jobs.submit", "jobs.submit.alice", "a-jobs.events"):
        assert TOPOLOGY.principal_of(name) is None


def test_a_prefixed_right_covers_what_begins_so_and_no_more() -> None:
    right = Right(Resource.TOPIC, "jobs.run.", Operation.WRITE, prefixed=True)
    assert right.covers(Resource.TOPIC, "jobs.run.a", Operation.WRITE)
    assert right.covers(Resource.TOPIC, "jobs.run.a", Operation.DESCRIBE)
    assert not right.covers(Resource.TOPIC, "jobs.run.a", Operation.READ)
    assert not right.covers(Resource.TOPIC, "jobs.runs", Operation.WRITE)
    assert not right.covers(Resource.GROUP, "jobs.run.a", Operation.WRITE)
