"""Sending submissions again between two installations on a real broker, through the other one's gate."""

import json
import time
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from agents.gate.main import Gate
from ops.cli import exits
from ops.cli.main import app
from pipeline.identity import asked_of
from pipeline.messages.inbox import Submitted
from pipeline.settings import Settings
from tests.integration.gate_support import Site, settings_for
from tests.waiting import until


@pytest.fixture
def sites(kafka: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    both = [Site(settings_for(kafka, tmp_path / name)) for name in ("from", "to")]
    yield both
    for site in both:
        site.close()


def knowing(settings: Settings, *names: str) -> Settings:
    return settings.model_copy(update={"topics": settings.topics.model_copy(update={"principals": names})})


def replay(site: Site, *words: str, settings: Settings | None = None):  # type: ignore[no-untyped-def]
    known = (settings or site.settings).environment()
    env = {name: text for name, text in known.items() if name.startswith("JOBSTREAM_")}
    return CliRunner().invoke(app, ["replay", "submissions", *words, "-o", "json"], env=env)


def test_a_range_is_sent_once_more_marked_and_under_new_ids_and_the_same_mark_makes_the_same_jobs(sites) -> None:  # type: ignore[no-untyped-def]
    old, new = sites
    for number in range(4):
        old.submit(
            {"job_type": "a" if number % 2 else "b", "payload": f'{{"n": {number}}}', "submission_id": f"s{number}"}
        )
    old.submit(b"rubbish").result(30)
    span = ("--from", "1h", "--to", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)))
    dry = replay(old, *span, "--dry-run")
    assert dry.exit_code == exits.OK, dry.output
    told = json.loads(dry.stdout)
    assert (told["sent"], told["types"], told["skipped"]) == (False, {"a": 2, "b": 2}, {"not acceptable": 1})
    assert replay(old, *span, "--to-topic", old.topology.submit.name).exit_code == exits.USAGE
    assert replay(old, *span, "--to-topic", "nowhere").exit_code == exits.USAGE
    gate = Gate(new.settings)
    gate.start()
    try:
        for _ in range(2):
            sent = replay(old, *span, "--type", "a", "--to-topic", new.topology.submit.name, "--mark", "june")
            assert json.loads(sent.stdout)["count"] == 2
        until(lambda: len(new.bodies(Submitted)) == 4, what="all are taken")
    finally:
        gate.stop()
    jobs = [job for body in new.bodies(Submitted) for job in body.jobs]
    assert {body.submission_id for body in new.bodies(Submitted)} == {"s1~june", "s3~june"}
    assert len({asked_of(job.job_id) for job in jobs}) == 2
    assert {orjson.loads(job.body)["replay"] for job in jobs} == {"june"}
    # what is a replay itself is not sent on
    chain = replay(new, *span, "--dry-run")
    assert (json.loads(chain.stdout)["count"], json.loads(chain.stdout)["skipped"]) == (0, {"a replay itself": 4})


def test_a_sender_whose_topic_is_not_made_yet_sent_nothing(sites) -> None:  # type: ignore[no-untyped-def]
    old, new = sites
    old.submit({"job_type": "a", "payload": "{}", "submission_id": "s"}).result(30)
    span = ("--from", "1h", "--to", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)))
    later = knowing(old.settings, "alice")
    sent = replay(old, *span, "--to-topic", new.topology.submit.name, settings=later)
    assert sent.exit_code == exits.OK, sent.output
    assert (json.loads(sent.stdout)["count"], json.loads(sent.stdout)["senders"]) == (1, {})
    # where there is no installation at all, that is told
    nowhere = old.settings.model_copy(
        update={"topics": later.topics.model_copy(update={"prefix": f"{later.topics.prefix}un"})}
    )
    assert replay(old, *span, "--dry-run", settings=nowhere).exit_code == exits.UNREACHABLE


def test_what_a_known_sender_sent_stays_its_own_and_goes_nowhere_else(kafka: str, tmp_path: Path) -> None:
    both = [settings_for(kafka, tmp_path / name) for name in ("from", "to")]
    old, new = (Site(knowing(one, "alice", "bob")) for one in both)
    without = Site(settings_for(kafka, tmp_path / "without"))
    try:
        # two submissions for all that they are called and hold the same
        same = {"job_type": "a", "payload": "{}", "submission_id": "s"}
        old.submit(same).result(30)
        old.submit(same, by="alice").result(30)
        span = ("--from", "1h", "--to", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)))
        refused = replay(old, *span, "--to-topic", without.topology.submit.name)
        assert refused.exit_code == exits.USAGE
        assert f"{without.topology.submit.name}.alice" in refused.output
        common = replay(old, *span, "--to-topic", without.topology.submit.name, "--common-only")
        assert json.loads(common.stdout)["count"] == 1
        gate = Gate(new.settings)
        gate.start()
        try:
            sent = json.loads(replay(old, *span, "--to-topic", new.topology.submit.name).stdout)
            until(lambda: len(new.bodies(Submitted)) == 2, what="both are taken")
        finally:
            gate.stop()
        assert (sent["count"], sent["senders"]) == (2, {"alice": 1})
        assert {one.principal for one in new.inbox() if isinstance(one.body, Submitted)} == {None, "alice"}
        assert len({job.job_id for body in new.bodies(Submitted) for job in body.jobs}) == 2
    finally:
        for site in (old, new, without):
            site.close()
