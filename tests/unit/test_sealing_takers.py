"""Who takes and gives grants where they are sealed: workers, schedulers; and what workers may read (decision 029)."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.scheduler.records import Reader
from agents.worker import commands
from agents.worker.commands import Ear, Heard, Met
from agents.worker.offer import offer
from ops.cli.main import app
from pipeline.codec import Codec
from pipeline.holding.holdings import UNSEALED, Holdings, Verdict
from pipeline.messages.command import Command
from pipeline.protocol import OWN, Protocol, own, why_not
from pipeline.rights import Operation, Resource, Role, rights_of
from pipeline.sealing import seal
from pipeline.settings import Settings
from tests.unit.partition_support import CODEC, HOLDER, TOPOLOGY
from tests.unit.sealing_support import GIVEN, HOLDER_WITH_KEY, KEY, SEALING


def test_sealing_on_one_side_alone_is_a_reason_to_give_and_take_no_grants() -> None:
    assert "the worker has no key" in why_not(OWN, own(True))
    assert "the orchestrator seals none" in why_not(own(True), OWN)
    assert why_not(own(True), own(True)) == why_not(own(False), own(False)) == ""
    # what they speak is told first
    assert why_not(Protocol(1, 1), own(True)).startswith("protocol:")


def test_a_worker_with_a_key_hands_back_what_was_not_sealed() -> None:
    status = offer(SEALING, HOLDER_WITH_KEY)
    holdings = Holdings(status, sealed=True)
    decision = holdings.grant(GIVEN, age=0, now=0)
    assert (decision.verdict, decision.reason) == (Verdict.RELEASE, UNSEALED)
    # not even where it is sealed afterwards: an attempt is handed back once
    assert holdings.grant(KEY.open(seal(GIVEN)), age=0, now=1).verdict is Verdict.IGNORE
    other = replace(GIVEN, job_id="f-2")
    assert holdings.grant(KEY.open(seal(other)), age=0, now=1).verdict is Verdict.START


def heard(ear: Ear, *given: Command, seals: bool = True) -> list[Any]:
    def record(command: Command) -> Any:
        return SimpleNamespace(
            error=lambda: None,
            topic=lambda: TOPOLOGY.commands.name,
            key=command.holder.encode,
            value=lambda: CODEC.encode("command", command.record()),
            headers=lambda: own(seals).headers,
            offset=lambda: 0,
            timestamp=lambda: (1, 5),
        )

    found: Iterator[Any] = (event for command in given for event in ear._events(record(command)))
    return list(found)


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ear:
    monkeypatch.setattr(commands, "consumer", lambda settings, name: SimpleNamespace())
    return Ear(Settings(home=tmp_path), Codec(), HOLDER_WITH_KEY, KEY)


def test_a_worker_opens_what_it_hears_and_leaves_out_what_it_can_t_open(ear: Ear) -> None:
    for_another_attempt = replace(seal(GIVEN), attempt=2)
    found = heard(ear, for_another_attempt, seal(GIVEN))
    assert found[0] == Met(own(True))
    (event,) = found[1:]
    assert isinstance(event, Heard)
    assert (event.command.token, event.command.document) == (GIVEN.token, GIVEN.document)


def test_an_orchestrator_that_does_not_seal_is_noticed_before_its_grant(ear: Ear) -> None:
    met, event = heard(ear, GIVEN, seals=False)
    assert met == Met(OWN)
    assert isinstance(event, Heard)


def test_a_sealed_grant_says_nothing_to_a_worker_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "consumer", lambda settings, name: SimpleNamespace())
    without = Ear(Settings(home=tmp_path), Codec(), HOLDER_WITH_KEY)
    assert heard(without, seal(GIVEN)) == [Met(own(True))]


@pytest.mark.parametrize(
    ("holder", "seals", "said"),
    [
        (HOLDER_WITH_KEY, True, ""),
        (HOLDER, False, "the worker has no key"),
        # the header is the sender's own, and proves nothing
        (HOLDER, True, "the holder has no key"),
    ],
    ids=["key", "none", "none, and says so"],
)
def test_a_sealing_scheduler_gives_jobs_to_workers_with_a_key_alone(holder: str, seals: bool, said: str) -> None:
    reader = Reader(TOPOLOGY, CODEC, sealing=True)
    record = SimpleNamespace(
        topic=lambda: TOPOLOGY.status.name,
        key=lambda: b"w1",
        value=lambda: CODEC.encode("status", offer(SEALING, holder).record()),
        headers=lambda: own(seals).headers,
        timestamp=lambda: (1, 5),
        offset=lambda: 3,
    )
    status = reader.message(record).status  # type: ignore[arg-type,union-attr]
    assert status.accepting is (said == "")
    assert said in status.reason


# rights


#: topics with jobs' documents, tokens, or what jobs print
PRIVATE = [
    *TOPOLOGY.submits(), TOPOLOGY.reports, TOPOLOGY.inbox, TOPOLOGY.events, TOPOLOGY.run("q"), TOPOLOGY.dead,
    TOPOLOGY.logs, TOPOLOGY.datasets, TOPOLOGY.control, *TOPOLOGY.changelogs(),
]  # fmt: skip


def test_where_grants_are_sealed_a_worker_reads_nothing_that_holds_others_jobs() -> None:
    def readable(*, sealing: bool) -> set[str]:
        rights = rights_of(Role.WORKER, TOPOLOGY, sealing=sealing)
        return {
            topic.name
            for topic in [*TOPOLOGY.fixed(), TOPOLOGY.run("q")]
            if any(right.covers(Resource.TOPIC, topic.name, Operation.READ) for right in rights)
        }

    assert readable(sealing=True) == {TOPOLOGY.commands.name, TOPOLOGY.settings.name}
    assert not readable(sealing=True) & {topic.name for topic in PRIVATE}
    assert readable(sealing=False) - readable(sealing=True) == {TOPOLOGY.inbox.name}


def test_other_roles_have_the_same_rights_either_way() -> None:
    for role in Role:
        if role is not Role.WORKER:
            assert rights_of(role, TOPOLOGY, sealing=True) == rights_of(role, TOPOLOGY)


@pytest.mark.parametrize(("sealing", "reads"), [("off", True), ("on", False)])
def test_the_rights_that_are_printed_are_those_of_the_setting(
    sealing: str, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBSTREAM_SECURITY__SEALING", sealing)
    printed = CliRunner().invoke(app, ["acls", "print", "-o", "json"], catch_exceptions=False).stdout
    read = {
        one["name"] for one in json.loads(printed) if (one["principal"], one["operation"]) == ("User:worker", "read")
    }
    assert ("jobs.inbox" in read) is reads
    assert "workers.commands" in read
