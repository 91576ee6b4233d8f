"""Bytes that nobody should have written, in every topic: no process dies, nothing waits behind them, none is lost."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.registry import codec
from ops.cluster import Plan
from ops.reading.log import Log
from pipeline.topic import KIB, Topic
from tests.acceptance.support import QUICK_LEASES, SOON, Site, site_at
from tests.faults.support import all_complete, pids
from tests.waiting import until

pytestmark = pytest.mark.timeout(400)

#: What is wrong with a record whatever the topic, and its bytes.
ANYWHERE: dict[str, bytes | None] = {
    "noise": bytes(range(255, -1, -1)),
    "empty": b"",
    "tombstone": None,
    "a list": b"[1, 2]",
    "deep": b"[" * 900 + b"]" * 900,
    "half of JSON": b'{"job_id": "a',
    "unknown fingerprint": b"\xc3\x01" + bytes(8) + b"body",
    "unknown schema id": b"\x00\x7f\xff\xff\xffbody",
}
Place = tuple[str, int, int]


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    plan = Plan(workers=1, engine="noop", task_workers=1)
    with site_at(servers_home / "poison", plan, QUICK_LEASES) as site:
        yield site


@pytest.fixture(scope="module")
def written(site: Site) -> dict[Place, bytes | None]:
    """All poison, by where it lies: written once real jobs and a task have left records of theirs in each topic."""
    all_complete(site, site.submit({}, {}, {}, job_type="before"))
    a_task_succeeds(site)
    topology = site.settings.topology
    changelogs = {topic.name for topic in topology.changelogs()}
    topics = [one for one in topology.fixed() if one.name not in changelogs] + [topology.run("before")]
    return {place: value for topic in topics for place, value in poison(site, topic)}


def poison(site: Site, topic: Topic) -> Iterator[tuple[Place, bytes | None]]:
    """Write what is wrong for a topic into each of its partitions; yield where it went."""
    publisher = site.submitter._publisher
    for number in range(topic.partitions):
        keys, values = [b"\xff\xfe", b"", b"queue/none", b"worker/worker-1", b"jobtype/none"], dict(ANYWHERE)
        values["huge"] = b"\xc3\x01" + bytes(topic.max_bytes - 8 * KIB)
        for key, value in list(real(site, topic, number))[-3:]:
            if topic.schema is not None:
                # of a setting the last record counts, whatever it says
                keys.append(key)
            values |= {f"{key!r} cut": value[: len(value) // 2], f"{key!r} and more": value + b"\0"}
            if (twisted := with_wrong_types(site, topic, value)) is not None:
                values[f"{key!r} of other types"] = twisted
                yield sent(publisher.send(topic, key, twisted, number), topic, twisted)
        for key, value in zip(itertools.cycle(keys), values.values(), strict=False):
            yield sent(publisher.send(topic, key, value, number), topic, value)


def sent(future: Any, topic: Topic, value: bytes | None) -> tuple[Place, bytes | None]:
    delivered = future.result(SOON)
    return (topic.name, delivered.partition, delivered.offset), value


def real(site: Site, topic: Topic, number: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a partition as our own processes wrote them."""
    with Log(site.settings) as log:
        for message in log.read(topic, number):
            if message.value():
                yield message.key() or b"", message.value()


def with_wrong_types(site: Site, topic: Topic, value: bytes) -> bytes | None:
    """Return a real record as JSON whose numbers are texts, None where there is no schema."""
    if topic.schema is None or topic == site.settings.topology.submit:
        # of a submission that can be read and not accepted a failed job is made
        return None
    record = codec(site.settings).decode(topic.schema, value)
    return orjson.dumps({name: twisted(one) for name, one in record.items()}, default=str)


def twisted(value: Any) -> Any:
    return f"{value}!" if isinstance(value, int | float) else value


def a_task_succeeds(site: Site) -> None:
    shown = site.told("task", "submit", "echo", "--arg", "1", "--wait")
    assert shown["status"] == "task-succeeded", shown


def letters(site: Site) -> dict[Place, set[bytes | None]]:
    """Return the bytes of all dead letters by where they came from."""
    found: dict[Place, set[bytes | None]] = {}
    with Log(site.settings) as log:
        for message in log.read(site.settings.topology.dead, 0):
            headers = {name: value or b"" for name, value in message.headers() or ()}
            if "offset" in headers:
                place = (headers["topic"].decode(), int(headers["partition"]), int(headers["offset"]))
                found.setdefault(place, set()).add(message.value())
    return found


def test_no_process_dies_and_what_comes_after_is_processed(site: Site, written: dict[Place, bytes | None]) -> None:
    before = pids(site)
    all_complete(site, site.submit({}, {}, {}, {}, job_type="before"))
    all_complete(site, site.submit({}, job_type="new-type"))
    a_task_succeeds(site)
    assert pids(site) == before
    assert None not in before.values()


@pytest.mark.parametrize(
    ("by", "seconds"), [("gate", SOON), ("orchestrator", SOON), ("task-worker", SOON), ("sink", 3 * SOON)]
)
def test_each_record_that_was_to_be_handled_is_a_dead_letter_with_its_bytes(
    site: Site, written: dict[Place, bytes | None], by: str, seconds: float
) -> None:
    topology = site.settings.topology
    handled = {
        "gate": [topology.submit, topology.reports, topology.control],
        "orchestrator": [topology.inbox],
        "task-worker": [topology.tasks("default")],
        "sink": [topology.events, topology.task_events],
    }
    names = {topic.name for topic in handled[by]}
    wanted = {place: value for place, value in written.items() if place[0] in names}
    assert {place[0] for place in wanted} == names

    def missing() -> dict[Place, bytes | None]:
        known = letters(site)
        return {place: value for place, value in wanted.items() if value not in known.get(place, ())}

    until(lambda: not missing(), seconds, 1.0, lambda: {place: str(value)[:80] for place, value in missing().items()})


def test_each_agent_starts_again_over_what_lies_in_the_topics(site: Site, written: dict[Place, bytes | None]) -> None:
    for name in site.cluster.agent_names:
        site.cluster.kill(name)
    site.cluster.up()
    all_complete(site, site.submit({}, {}, {}, {}, job_type="before"))
    a_task_succeeds(site)


def test_operators_see_what_there_is(site: Site, written: dict[Place, bytes | None]) -> None:
    for command in (("queues",), ("workers",), ("dead", "list", "--all"), ("task", "list")):
        assert site.told(*command)
    # each ends with 0 only if all is well
    assert site.told("audit")
    assert site.told("replay", "verify")
