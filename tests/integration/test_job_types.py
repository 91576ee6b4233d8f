"""Registered job types on a real broker: registered by command or folder, submitted, resolved by the gate, run."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from agents.gate.gate import Gate
from agents.job_types import key_of
from ops.cli import exits
from ops.cli.main import app
from ops.reading.queues import queue_settings
from ops.reading.table import read_table
from ops.registering import registered
from pipeline.identity import payload_hash
from pipeline.messages.inbox import NewJob, Rejected, Submitted
from pipeline.settings import Settings
from pipeline.submission.errors import CreatorsError
from pipeline.work import command
from tests.integration.gate_support import Site, settings_for
from tests.unit.jobtypes_support import document
from tests.waiting import until

PARAMS = ({"name": "tile"}, {"name": "zoom", "type": "number", "default": "5"})
NASTY = "N46'; $(touch /tmp/x) $tile"


def hello(**more: Any) -> dict[str, Any]:
    return {**document(*PARAMS, command="/app/run.sh --tile $tile"), "name": "hello", "queue": "hellos", **more}


def write(folder: Path, name: str, value: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value))
    return folder / name


class Installation:
    """Topics of its own, and commands on them."""

    def __init__(self, settings: Settings) -> None:
        self.site = Site(settings)
        self.settings = settings

    def __call__(self, *words: str | Path) -> Result:
        return CliRunner().invoke(app, list(map(str, words)), env=self.settings.environment())

    def submit(self, name: str, payload: dict[str, Any], job_type: str = "job:job-hello:v1") -> None:
        record = {"job_type": job_type, "payload": json.dumps(payload), "submission_id": name}
        self.site.submit(record).result(30)

    def job(self, submission_id: str) -> NewJob:
        """The first job that the gate made of a submission."""
        made = until(
            lambda: [one for one in self.site.bodies(Submitted) if one.submission_id == submission_id],
            what=f"the jobs of {submission_id}",
        )
        return made[0].jobs[0]

    def rejection(self, submission_id: str) -> Rejected:
        found: list[Rejected] = until(
            lambda: [one for one in self.site.bodies(Rejected) if one.submission_id == submission_id],
            what=f"the rejection of {submission_id}",
        )
        return found[0]


@pytest.fixture
def installed(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    made: list[Installation] = []

    def make(**gate: Any) -> Installation:
        made.append(Installation(settings_for(kafka, tmp_path, **gate)))
        return made[-1]

    yield make
    for one in made:
        one.site.close()


@pytest.fixture
def opened() -> Iterator[Callable[[Settings], Gate]]:
    """Opens gates in this process, and closes them at the end; none may have died."""
    gates: list[Gate] = []
    died = threading.Event()

    def open_(settings: Settings) -> Gate:
        gates.append(Gate(settings, died.set))
        gates[-1].start()
        return gates[-1]

    yield open_
    for gate in gates:
        gate.stop()
    assert not died.is_set()


def argv(job: NewJob) -> tuple[str, ...]:
    """What a worker would run."""
    return command.build(orjson.loads(job.body), None).argv


def test_a_registered_type_is_listed_shown_and_resolves_what_is_submitted(
    installed: Callable[..., Installation], opened: Callable[[Settings], Gate], tmp_path: Path
) -> None:
    one = installed()
    opened(one.settings)
    file = write(tmp_path, "hello.json", hello(container={"name": "hello:1"}))
    result = one("jobs", "register", file, "-o", "json")
    assert result.exit_code == exits.OK, result.output
    assert json.loads(result.stdout) == [{"id": "job-hello:v1", "queue": "hellos", "state": "registered"}]
    assert queue_settings(one.settings) == {"hellos": False}

    # at once: the gate has followed the log, or reads it to its end now
    one.submit("first", {"tile": NASTY})
    job = one.job("first")
    body = orjson.loads(job.body)
    assert argv(job) == ("/app/run.sh", "--tile", NASTY, NASTY, "5.0")
    assert (job.queue, job.time_limit, job.needs.disk_mib) == ("hellos", 900, 1024)
    assert (body["type"], body["container_image_name"]) == ("job-hello:v1", "hello:1")
    assert body["job_info"]["payload_hash"] == payload_hash({"tile": NASTY})

    (row,) = json.loads(one("jobs", "list", "-o", "json").stdout)
    assert (row["id"], row["queue"], row["image"], row["params"]) == (
        "job-hello:v1",
        "hellos",
        "hello:1",
        ["tile", "zoom"],
    )
    for name in ("hello", "job-hello", "job-hello:v1", "job:job-hello:v1"):
        assert json.loads(one("jobs", "show", name).stdout) == hello(container={"name": "hello:1"})
    tried = one("jobs", "resolve", "hello", "-p", "tile=x", "-o", "json")
    assert json.loads(tried.stdout)["argv"] == ["/app/run.sh", "--tile", "x", "x", "5.0"]


def test_what_a_type_does_not_take_is_a_named_failure_of_the_job(
    installed: Callable[..., Installation], opened: Callable[[Settings], Gate], tmp_path: Path
) -> None:
    one = installed()
    opened(one.settings)
    assert one("jobs", "register", write(tmp_path, "hello.json", hello())).exit_code == exits.OK
    one.submit("missing", {"zoom": "many", "tpyo": 1})
    rejection = one.rejection("missing")
    for said in ("$.payload.tile: found nothing", "$.payload.zoom: found a text", "$.payload.tpyo"):
        assert said in rejection.error
    assert json.loads(rejection.body)["type"] == "job-hello:v1"
    one.submit("other-version", {"_command": "/bin/true"}, "job-hello:v2")
    assert argv(one.job("other-version")) == ("/bin/true",)


def test_a_later_registration_replaces_the_earlier_one_and_removing_ends_it(
    installed: Callable[..., Installation], opened: Callable[[Settings], Gate], tmp_path: Path
) -> None:
    one = installed()
    opened(one.settings)
    file = write(tmp_path, "hello.json", hello())
    assert "registered" in one("jobs", "register", file).stdout
    assert "unchanged" in one("jobs", "register", file).stdout
    assert "replaced" in one("jobs", "register", file, "--queue", "others").stdout
    one.submit("second", {"tile": "x"})
    assert one.job("second").queue == "others"
    assert one("jobs", "remove", "hello").exit_code == exits.OK
    assert one("jobs", "show", "hello").exit_code == exits.NOT_FOUND
    assert one("jobs", "remove", "hello").exit_code == exits.NOT_FOUND


def test_versions_are_told_apart(installed: Callable[..., Installation], tmp_path: Path) -> None:
    one = installed()
    file = write(tmp_path, "hello.json", hello())
    for version in ("v1", "v2"):
        assert one("jobs", "register", file, "--version", version).exit_code == exits.OK
    assert list(registered(one.settings)) == ["job-hello:v1", "job-hello:v2"]
    several = one("jobs", "show", "hello")
    assert several.exit_code == exits.USAGE
    assert "job-hello:v1, job-hello:v2" in several.stderr


def test_a_gate_registers_what_its_folder_has_and_writes_nothing_twice(
    installed: Callable[..., Installation], opened: Callable[[Settings], Gate], tmp_path: Path
) -> None:
    folder = tmp_path / "types"
    write(folder, "hello.json", hello())
    one = installed(job_types_dir=folder)
    opened(one.settings).stop()
    before = read_table(one.settings, one.settings.topology.settings)[key_of("job-hello:v1")]
    opened(one.settings)
    one.submit("of-folder", {"tile": "x"})
    assert argv(one.job("of-folder"))[2:] == ("x", "x", "5.0")
    assert read_table(one.settings, one.settings.topology.settings)[key_of("job-hello:v1")] == before
    assert queue_settings(one.settings) == {"hellos": False}


def test_a_gate_does_not_open_with_a_type_that_is_wrong(installed: Callable[..., Installation], tmp_path: Path) -> None:
    folder = tmp_path / "types"
    write(folder, "wrong.json", hello(queue="Not A Queue"))
    with pytest.raises(CreatorsError, match=r"wrong\.json: \$\.queue"):
        Gate(installed(job_types_dir=folder).settings)


def test_a_record_that_is_no_type_fails_its_own_submissions_alone(
    installed: Callable[..., Installation], opened: Callable[[Settings], Gate]
) -> None:
    one = installed()
    opened(one.settings)
    topic = one.settings.topology.settings
    one.site.publisher.send(topic, key_of("job-hello:v1"), b'{"name": "hello"}', 0).result(30)
    one.submit("broken", {"tile": "x"})
    assert "can't be used" in one.rejection("broken").error
    one.submit("next", {"_command": "/bin/true"}, "job:any")
    assert argv(one.job("next")) == ("/bin/true",)
    listed = one("jobs", "list", "-o", "json")
    assert "$.job_spec" in json.loads(listed.stdout)[0]["error"]
