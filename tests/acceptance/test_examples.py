"""Submissions from clients that know nothing of this project: they run like those of the command line."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.cluster import Plan
from ops.reading.log import Log
from ops.submitting import Submission
from pipeline import Client
from pipeline.codec import Codec
from pipeline.messages.inbox import Inbox, Submitted
from pipeline.statuses import Status
from tests.acceptance import examples
from tests.acceptance.support import NO_SEARCH, SOON, WHOLE, Site, site_at
from tests.conftest import unavailable
from tests.waiting import until

TOPIC = "jobs.submit"


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    with site_at(servers_home / "examples", Plan(**NO_SEARCH)) as site:
        yield site


def payload(text: str) -> dict[str, Any]:
    return {"_command": "sh -c 'echo heard $1' say $text", "text": text}


def times_forwarded(site: Site, submission_id: str) -> int:
    """How often the gate has forwarded a submission of this id."""
    inbox, codec = site.settings.topology.inbox, Codec()
    with Log(site.settings, follows=False) as log:
        bodies = [
            Inbox.of(codec.decode("inbox", message.value())).body
            for number in range(inbox.partitions)
            for message in log.read(inbox, number)
        ]
    return sum(isinstance(body, Submitted) and body.submission_id == submission_id for body in bodies)


@pytest.fixture(scope="module")
def ours(site: Site) -> str:
    """A job of the command line, which those of the examples differ from in their text alone."""
    done = site.cli("submit", "say", "--payload", "-", "-o", "json", stdin=json.dumps(payload("command line")))
    (job,) = json.loads(done.stdout)["job_ids"]
    site.await_status([job], WHOLE[-1])
    return str(job)


def ran_like(site: Site, ours: str, job: str, text: str) -> None:
    site.await_status([job], WHOLE[-1])
    assert site.facts.course(job) == site.facts.course(ours) == WHOLE
    theirs, known = site.document(job), site.document(ours)
    assert theirs.keys() == known.keys()
    assert theirs["job"].keys() == known["job"].keys()
    assert theirs["job"]["job_info"].keys() == known["job"]["job_info"].keys()
    assert theirs["job"]["params"] == payload(text)
    assert theirs["type"] == "say"
    with Client(site.settings) as client:
        printed = client.logs(job, stream="stdout", follow=True)
        assert "".join(one.text for one in printed) == f"heard {text}\n"


@pytest.mark.parametrize("name", examples.NAMES)
def test_what_an_example_submits_runs_once_however_often_it_is_sent(site: Site, ours: str, name: str) -> None:
    example = examples.ready(name)
    submission = (site.settings.kafka.bootstrap, TOPIC, f"from-{name}", "say", json.dumps(payload(name)))
    example.run(*submission)
    example.run(*submission)
    ran_like(site, ours, site.job_of(f"from-{name}"), name)
    until(lambda: times_forwarded(site, f"from-{name}") == 2, SOON, what="both have come to the inbox")
    # it comes to the same partition behind them, so that what the ledger does with it comes after
    later = Submission("say", payload(name))
    site.submitter.send(later).result(SOON)
    site.await_status([site.job_of(later.submission_id)], Status.DEDUPED)
    assert len(site.jobs_of(f"from-{name}")) == 1
    assert site.facts.course(site.job_of(f"from-{name}")) == WHOLE


def test_a_submission_without_an_id_is_known_by_its_place_in_the_topic(site: Site, ours: str) -> None:
    if shutil.which("kcat") is None:
        unavailable("kcat is not installed")
    record = {"job_type": "say", "payload": payload("nameless")}
    command = ["kcat", "-P", "-b", site.settings.kafka.bootstrap, "-t", TOPIC, "-p", "3"]
    subprocess.run(command, input=json.dumps(record), text=True, check=True, timeout=SOON)

    def job() -> str:
        found = (job for job, facts in site.facts.facts.items() if facts[1].submission_id.startswith(f"{TOPIC}-3-"))
        return next(found, "")

    ran_like(site, ours, until(job, SOON, what="the submission is taken"), "nameless")


def test_the_same_submission_from_two_clients_makes_one_job(site: Site) -> None:
    submission = (site.settings.kafka.bootstrap, TOPIC, "from-two", "say", json.dumps(payload("two")))
    for name in ("python", "kcat"):
        examples.ready(name).run(*submission)
    until(lambda: times_forwarded(site, "from-two") == 2, SOON, what="both have come to the inbox")
    later = Submission("say", payload("two"))
    site.submitter.send(later).result(SOON)
    site.await_status([site.job_of(later.submission_id)], Status.DEDUPED)
    assert len(site.jobs_of("from-two")) == 1
