"""Topics and partitions: what every part of the system computes alike."""

import pytest

from pipeline.identity import family_of_hash, job_id
from pipeline.partitioning import murmur2, partition_of
from pipeline.rights import Resource, Role, rights_of
from pipeline.topology import QUEUE_NAME, Topology

#: From the Java client's own tests, as signed 32-bit numbers.
JAVA_HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), JAVA_HASHES.items())
def test_the_hash_is_that_of_the_java_client(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


def test_a_partition_is_the_one_that_java_clients_choose() -> None:
    assert partition_of("foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7


def test_a_jobs_partition_is_that_of_its_family() -> None:
    topology = Topology(inbox_partitions=32)
    family = family_of_hash("some hash")
    job = job_id(family, "id", "some hash", "creator", "queue")
    assert topology.job_partition(job) == topology.inbox_partition(family)


def test_a_text_that_is_no_job_id_has_a_partition_all_the_same() -> None:
    assert 0 <= Topology().job_partition("") < 8
    assert 0 <= Topology().job_partition("§ ∞") < 8


def test_reports_control_events_and_changelogs_have_the_inboxs_partitions() -> None:
    topology = Topology(inbox_partitions=5)
    same = [topology.reports, topology.control, topology.events, topology.inbox, *topology.changelogs()]
    assert {topic.partitions for topic in same} == {5}


def test_each_generation_has_an_inbox_and_tables_of_its_own_and_facts_stay_where_they_are() -> None:
    before, after = Topology(inbox_partitions=2), Topology(inbox_partitions=6, inbox_generation=2, fact_partitions=2)
    own = [{one.inbox.name, one.ledger_id, *(topic.name for topic in one.changelogs())} for one in (before, after)]
    assert not own[0] & own[1]
    assert {topic.partitions for topic in (after.inbox, after.reports, after.control, *after.changelogs())} == {6}
    for one, other in zip(
        (before.events, before.logs, before.datasets, before.task_events),
        (after.events, after.logs, after.datasets, after.task_events),
        strict=True,
    ):
        assert one == other
    for number in range(100):
        family = family_of_hash(str(number))
        assert after.fact_partition(after.inbox_partition(family)) == before.inbox_partition(family)


@pytest.mark.parametrize("prefix", ["", "a-", "jobs.x-", "jobstream-test."])
@pytest.mark.parametrize("other", ["b-", "jobs.x.", "jobstream-", "jobs."])
def test_an_installation_owns_all_of_its_names_and_none_of_another_prefix(prefix: str, other: str) -> None:
    mine, theirs = (Topology(one, inbox_generation=2, principals=("alice",)) for one in (prefix, prefix + other))
    for one in (mine, theirs):
        topics = [topic.name for topic in (*one.fixed(), one.run("q"))]
        groups = [right.name for role in Role for right in rights_of(role, one) if right.resource is Resource.GROUP]
        assert {(name, one.owns(name)) for name in topics + groups} == {(name, True) for name in topics + groups}
        assert [name for name in topics + groups if mine.owns(name)] == (topics + groups if one is mine else [])


def test_time_is_the_brokers_on_every_topic() -> None:
    topics = [*Topology().fixed(), Topology().run("q")]
    assert {topic.config()["message.timestamp.type"] for topic in topics} == {"LogAppendTime"}


def test_what_is_read_from_its_start_is_compacted_and_kept() -> None:
    topology = Topology()
    for topic in (topology.settings, topology.view, topology.run("q"), *topology.changelogs()):
        assert topic.config()["cleanup.policy"] == "compact"
        assert topic.config()["retention.ms"] == "-1"


def test_a_note_outlives_the_letter_that_it_is_about_and_then_goes_too() -> None:
    topology = Topology()
    assert topology.dead_notes.config()["cleanup.policy"] == "compact,delete"
    assert int(topology.dead_notes.config()["retention.ms"]) > int(topology.dead.config()["retention.ms"])


def test_a_dead_letter_is_larger_than_any_record_that_it_may_hold() -> None:
    topology = Topology()
    largest = max(topic.max_bytes for topic in (topology.submit, topology.reports, topology.control, topology.events))
    assert topology.dead.max_bytes > largest


def test_a_prefix_is_before_every_name_and_queues_are_found_again() -> None:
    topology = Topology(prefix="one-")
    assert all(topic.name.startswith("one-") for topic in topology.fixed())
    assert topology.queue_of(topology.run("fast.lane").name) == "fast.lane"
    assert topology.queue_of("jobs.run.fast.lane") is None
    assert Topology().queue_of(topology.run("q").name) is None


@pytest.mark.parametrize("name", ["a", "job-hello__v1.0", "x" * 80])
def test_queue_names(name: str) -> None:
    assert QUEUE_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a:b", "é", "x" * 81, "a\n"])
def test_other_names_are_no_queues(name: str) -> None:
    assert not QUEUE_NAME.fullmatch(name)
