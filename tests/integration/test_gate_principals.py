"""Submitters with topics of their own, at a gate: known by them, and held to a rate without holding anybody up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.gate.gate import Gate
from agents.registry import codec
from ops.burying import Undertaker
from ops.reading.dead import Letters
from ops.replaying.auditing import audit
from pipeline.messages.inbox import Submitted
from pipeline.settings import Settings
from tests.integration.gate_support import Site, settings_for
from tests.waiting import until


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Settings:
    known = settings_for(kafka, tmp_path, rates={"alice": 1.0})
    topics = known.topics.model_copy(update={"principals": ("alice", "bob"), "submit_partitions": 1})
    return known.model_copy(update={"topics": topics})


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    one = Site(settings)
    gate = Gate(settings, lambda: None)
    gate.start()
    yield one
    gate.stop()
    one.close()


def send(site: Site, principal: str | None, record: dict | bytes) -> None:
    value = codec(site.settings).encode("submission", record) if isinstance(record, dict) else record
    site.publisher.send(site.topology.submit_of(principal), b"key", value, 0).result(30)


def senders(site: Site) -> list[str | None]:
    return [message.principal for message in site.inbox() if isinstance(message.body, Submitted)]


def test_one_that_sends_more_than_its_rate_waits_alone_and_loses_nothing(site: Site) -> None:
    for number in range(14):
        send(site, "alice", {"job_type": "x", "payload": f'{{"n": {number}}}'})
    until(lambda: senders(site).count("alice") >= 10, what="the burst")
    for principal in ("bob", None):
        send(site, principal, {"job_type": "x", "payload": '{"n": 1}'})
    until(lambda: {"bob", None} <= set(senders(site)), what="the others")
    assert senders(site).count("alice") < 14
    until(lambda: senders(site).count("alice") == 14, what="the rest, at its rate")
    families = {message.family for message in site.inbox() if isinstance(message.body, Submitted)}
    assert len(families) == 16


def test_a_dead_letter_of_a_known_sender_stays_its_own_when_it_is_sent_again(site: Site) -> None:
    send(site, "bob", b"\xff no submission")
    until(site.dead, what="the dead letter")
    with Letters(site.settings) as letters, Undertaker(site.settings) as undertaker:
        ((_, letter),) = letters.each(["0-0"])
        assert letter is not None
        sent = undertaker.send_again(letter, "test")
    assert sent.topic == site.topology.submit_of("bob").name
    until(lambda: len(site.dead()) == 2, what="the letter to come back")


def test_the_audit_misses_no_sender_s_submissions(site: Site) -> None:
    for principal in ("alice", "bob", None):
        send(site, principal, {"job_type": "x", "payload": '{"n": 1}'})
    until(lambda: len(senders(site)) == 3, what="all three")
    found = until(lambda: _taken(site), what="the gate to have committed all three")
    assert found == 3


def _taken(site: Site) -> int:
    findings = audit(site.settings)
    judged = {check.name: number for check, number in findings.judged.items()}
    return judged["TAKEN"] if judged.get("TAKEN") == 3 else 0
