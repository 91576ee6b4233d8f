"""Dead letters on a real broker, behind a real gate: looking at them, sending them again, dropping them."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agents.gate import dead
from agents.gate.gate import Gate
from agents.gate.record import Incoming, Outgoing
from ops.cli import exits
from ops.cli.main import app
from pipeline.identity import asked_of, family_of_job
from pipeline.messages.inbox import Inbox, NewJob, Source, Submitted
from pipeline.messages.needs import Needs
from tests.integration.gate_support import Site, settings_for
from tests.waiting import until

NOISE = b"\xff\xfe\x00 not anything \x01\n"
SECRET = b'{"job_type": "x", "payload": {"url": "https://me:pw@h/a", "password": "hunter2"}'


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a gate that runs."""
    one = Site(settings_for(kafka, tmp_path_factory.mktemp("dead")))
    died = threading.Event()
    gate = Gate(one.settings, died.set)
    gate.start()
    yield one
    gate.stop()
    one.close()
    assert not died.is_set()


def run(site: Site, *words: str) -> Result:
    return CliRunner().invoke(app, ["dead", *words], env=site.settings.environment())


def told(site: Site, *words: str) -> Any:
    result = run(site, *words, "-o", "json")
    assert result.exit_code == exits.OK, result.output
    return json.loads(result.stdout)


def buried(site: Site, value: bytes) -> str:
    """Submit what can't be read; return the id of its letter."""
    before = {one["id"] for one in told(site, "list", "--all")}
    place = site.submit(value, partition=1).result(30)

    def letter() -> str:
        fresh = [one for one in told(site, "list", "--all") if one["id"] not in before]
        return next((one["id"] for one in fresh if one["offset"] == place.offset), "")

    return until(letter, what="the dead letter")


def write(site: Site, topic: str, value: bytes | None, offset: int = 7) -> str:
    """Put a letter on jobs.dead as the gate would, of a record that can be read by now; return its id."""
    incoming = Incoming(topic, 1, offset, 1_764_000_000_000, b"key", value, (("client", b"theirs"),))
    letter: Outgoing = dead.dead_letter(site.topology.dead, incoming, "unknown schema id 7")
    sent = site.publisher.send(letter.topic, letter.key, letter.value, letter.partition, letter.headers).result(30)
    return f"{sent.partition}-{sent.offset}"


def submitted(site: Site, mark: str) -> list[Inbox]:
    """The messages that submissions with this mark in their payload became."""
    every = [one for one in site.inbox() if isinstance(one.body, Submitted)]
    return [one for one in every if mark in one.body.jobs[0].body]  # type: ignore[union-attr]


def test_a_letter_is_listed_with_where_it_came_from_and_its_bytes_are_given_as_they_came(site: Site) -> None:
    letter = buried(site, NOISE)
    listed = {one["id"]: one for one in told(site, "list", "--topic", "submit", "--since", "1h")}[letter]
    assert (listed["topic"], listed["partition"], listed["bytes"]) == (site.topology.submit.name, 1, len(NOISE))
    assert "neither Avro nor JSON" in listed["reason"]
    assert run(site, "show", letter, "--raw").stdout_bytes == NOISE
    shown = told(site, "show", letter)
    assert (shown["key"], shown["headers"]) == ("key", {"client": "test"})
    assert letter in run(site, "list", "--reason", "AVRO").stdout
    assert letter not in run(site, "list", "--reason", "token").stdout
    assert letter not in run(site, "list", "--topic", "reports").stdout


def test_secrets_are_masked_but_in_the_raw_bytes(site: Site) -> None:
    letter = buried(site, SECRET)
    for words in (("show", letter), ("show", letter, "-o", "json"), ("list",)):
        shown = run(site, *words).stdout
        assert "hunter2" not in shown and "me:pw" not in shown
    assert "https://h/a" in run(site, "show", letter).stdout
    assert run(site, "show", letter, "--raw").stdout_bytes == SECRET


def test_the_newest_come_first_and_no_more_than_asked_for(site: Site) -> None:
    letters = [write(site, site.topology.submit.name, b"x", offset) for offset in range(230)]
    assert [one["id"] for one in told(site, "list", "--limit", "210")] == letters[::-1][:210]
    run(site, "drop", *letters, "--why", "a test's")


def test_a_submission_that_can_be_read_by_now_makes_its_jobs_once_however_often_it_is_sent(site: Site) -> None:
    value = b'{"job_type": "x", "payload": {"mark": "once"}, "enable_dedup": false}'
    letter = write(site, site.topology.submit.name, value)
    assert run(site, "retry", letter, "--dry-run").exit_code == exits.OK
    assert submitted(site, "once") == []
    assert run(site, "retry", letter, "--why", "registry is back").exit_code == exits.OK
    until(lambda: submitted(site, "once"), what="the submission is taken")
    again = run(site, "retry", letter)
    assert (again.exit_code, "--force" in again.stderr) == (exits.FAILED, True)
    assert run(site, "retry", letter, "--force").exit_code == exits.OK
    first, second = until(lambda: len(found := submitted(site, "once")) == 2 and found, what="it is taken again")
    assert [asked_of(job.job_id) for job in first.body.jobs] == [asked_of(job.job_id) for job in second.body.jobs]
    assert first.body.submission_id == second.body.submission_id == f"{site.topology.submit.name}-1-7"
    assert first.source != second.source
    note = {one["id"]: one for one in told(site, "list", "--all")}[letter]["note"]
    assert (note["done"], note["reason"]) == ("retried", "")
    assert letter not in run(site, "list").stdout


def test_a_submission_keeps_an_id_of_its_own_and_its_headers(site: Site) -> None:
    letter = write(
        site, site.topology.submit.name, b'{"job_type": "x", "payload": {"mark": "own"}, "submission_id": "mine"}'
    )
    assert run(site, "retry", letter).exit_code == exits.OK
    (message,) = until(lambda: submitted(site, "own"), what="the submission is taken")
    assert isinstance(message.body, Submitted) and message.body.submission_id == "mine"


def test_what_still_cannot_be_read_comes_back_and_is_known_by_its_first_letter(site: Site) -> None:
    first = buried(site, NOISE + b"again")

    def returned(of: str) -> str:
        found = [one for one in told(site, "list") if one.get("again_of") == first and one["id"] != of]
        return found[0]["id"] if found else ""

    assert run(site, "retry", first).exit_code == exits.OK
    second = until(lambda: returned(""), what="it came back")
    assert run(site, "show", second, "--raw").stdout_bytes == NOISE + b"again"
    assert run(site, "retry", second).exit_code == exits.OK
    third = until(lambda: returned(second), what="it came back once more")
    headers = told(site, "show", third)["headers"]
    assert headers["jobstream.submission-id"].startswith(f"{site.topology.submit.name}-1-")
    assert (headers["jobstream.dead-letter"], headers["client"]) == (first, "test")


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("reports", "has ended or gone to another worker"),
        ("control", "jobstream retry JOB"),
        ("inbox", "can't be read"),
        ("events", "JOBSTREAM_SINK__GROUP"),
        ("task_events", "JOBSTREAM_SINK__GROUP"),
        ("task_retries", "jobstream task submit"),
        ("view", "none that submissions come by"),
    ],
)
def test_what_is_no_submission_is_refused_with_what_to_do_instead(site: Site, topic: str, said: str) -> None:
    letter = write(site, getattr(site.topology, topic).name, b"bytes")
    result = run(site, "retry", letter)
    assert result.exit_code == exits.FAILED
    assert said in result.stderr


def test_a_message_that_the_ledger_could_not_read_names_the_submission_behind_it(site: Site) -> None:
    body = Submitted("sub-9", "h", True, (NewJob("f-1", "q", "c", 0, Needs(), "{}"),))
    message = Inbox(family_of_job("f-1"), body, Source("submit", 0, 4))
    letter = write(site, site.topology.inbox.name, site.codec.encode("inbox", message.record()))
    said = run(site, "retry", letter).stderr
    assert "submission sub-9 lies on" in said and "partition 0, offset 4" in said


def test_a_letter_without_bytes_is_refused(site: Site) -> None:
    letter = write(site, site.topology.submit.name, None)
    assert "no bytes" in run(site, "retry", letter).stderr
    assert run(site, "show", letter, "--raw").stdout_bytes == b""


def test_a_dropped_letter_is_hidden_and_stays(site: Site) -> None:
    letter = buried(site, NOISE + b"drop")
    assert run(site, "drop", letter, "--why", "sender told").exit_code == exits.OK
    assert letter not in run(site, "list").stdout
    assert "dropped" in run(site, "list", "--all").stdout
    assert "sender told" in run(site, "show", letter).stdout
    assert run(site, "show", letter, "--raw").stdout_bytes == NOISE + b"drop"


def test_many_letters_are_sent_by_what_they_have_in_common(site: Site) -> None:
    values = [json.dumps({"job_type": "x", "payload": {"mark": "many", "n": n}}).encode() for n in range(5)]
    letters = [write(site, site.topology.submit.name, value, 100 + n) for n, value in enumerate(values)]
    query = ("retry", "--query", "topic=submit,reason=unknown schema id 7,since=1h")
    assert run(site, *query).exit_code == exits.USAGE
    result = run(site, *query, "--yes", "--limit", "5", "-o", "json")
    assert result.exit_code == exits.OK, result.output
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == letters
    until(lambda: len(submitted(site, "many")) == 5, what="all are taken")
    assert not set(letters) & {one["id"] for one in told(site, "list")}


@pytest.mark.parametrize("letter", ["0-999999", "7-0", "x", "0-", "-1-5"])
def test_a_letter_that_is_none_is_exit_code_4(site: Site, letter: str, tmp_path: Path) -> None:
    for action in ("show", "retry", "drop"):
        assert run(site, action, "--", letter).exit_code == exits.NOT_FOUND
