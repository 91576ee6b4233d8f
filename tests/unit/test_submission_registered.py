"""Submissions of registered job types: the job that the gate makes, and what its limits and needs become."""

from typing import Any

import orjson
import pytest

from agents.gate.job_types import JobTypes
from agents.job_types import key_of
from pipeline import identity
from pipeline.jobtypes.job_type import JobType
from pipeline.messages.inbox import NewJob, Source, Submitted
from pipeline.submission.creators import CATCH_ALL, Creator, Creators
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.rejection import rejected
from pipeline.submission.request import Submission
from tests.unit.jobtypes_support import document

ORIGIN = Origin("jobs.submit", Source("submit", 0, 1), 1_700_000_000_000)
PARAMS = ({"name": "tile"}, {"name": "zoom", "type": "number", "default": "5"})


def registered(*params: dict[str, Any], **more: Any) -> JobType:
    raw = document(*(params or PARAMS), **more.pop("spec", {}))
    raw["hysds_io"].update(more.pop("io", {}))
    return JobType.of({**raw, **more})


def submission(**fields: Any) -> Submission:
    return Submission.model_validate({"job_type": "job:job-x:v1", "payload": {"tile": "N46"}} | fields)


def job(job_type: JobType, one: Submission | None = None, creators: Creators | None = None) -> NewJob:
    one = one or submission()
    known = (creators or Creators()).knowing({job_type.id: job_type}.get)
    body = jobs_of(one, known.of(one), ORIGIN, 300).body
    assert isinstance(body, Submitted)
    return body.jobs[0]


def body(*arguments: Any) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(job(*arguments).body)
    return made


def test_a_job_of_a_registered_type_carries_its_resolved_command_and_container() -> None:
    job_type = registered(
        spec={"imported_worker_files": {"/a": "/b"}, "runtime_options": {"gpus": 1}},
        container={"name": "img:1", "url": "s3://x", "urls": {"arm": "s3://y"}},
    )
    made = body(job_type)
    assert made["command"] == {"path": "/app/run.sh", "options": [], "arguments": ["N46", "5.0"], "env": []}
    assert made["params"]["_command"] == "/app/run.sh N46 5.0"
    assert (made["type"], made["name"]) == ("job-x:v1", "job__job-x__v1")
    assert (made["container_image_name"], made["container_image_url"]) == ("img:1", "s3://x")
    assert made["container_image_urls"] == {"arm": "s3://y"}
    assert (made["container_mappings"], made["runtime_options"]) == ({"/a": "/b"}, {"gpus": 1})
    assert (made["needs"]["disk_mib"], made["params"]["_disk_usage"]) == (1024, "1GB")


def test_a_submissions_own_container_wins() -> None:
    made = body(registered(container={"name": "img:1"}), submission(container_image_name="other"))
    assert made["container_image_name"] == "other"
    assert made["container_of_submitter"] is True


@pytest.mark.parametrize(
    "own",
    [{"container_image_url": "s3://z"}, {"container_image_urls": {"arm": "z"}}, {"container_mappings": {"/a": "/b"}}],
)
def test_whatever_of_the_container_a_submission_brings_is_known_to_be_its_own(own: dict[str, Any]) -> None:
    assert body(registered(container={"name": "img:1"}), submission(**own))["container_of_submitter"] is True
    assert "container_of_submitter" not in body(registered(container={"name": "img:1"}))


@pytest.mark.parametrize(
    ("fields", "soft", "hard"),
    [
        ({}, 600, 900),
        ({"soft_time_limit": 700}, 700, 1000),
        ({"soft_time_limit": 1000}, 1000, 1300),
        ({"time_limit": 60}, None, 60),
        ({"time_limit": 5000}, 600, 5000),
        ({"soft_time_limit": 10, "time_limit": 400}, 10, 400),
    ],
)
def test_limits_are_the_submissions_else_the_types(fields: dict[str, Any], soft: int | None, hard: int) -> None:
    made = job(registered(spec={"time_limit": 900}), submission(**fields))
    assert (made.soft_time_limit, made.time_limit) == (soft, hard)


def test_needs_are_the_submissions_over_the_types() -> None:
    job_type = registered(needs={"memory_mib": 512, "cpus": 2, "labels": {"a": "b"}, "disk_mib": 7})
    assert job(job_type).needs.memory_mib == 512
    made = job(job_type, submission(needs={"memory_mib": 100}, disk_usage="2GB"))
    assert (made.needs.memory_mib, made.needs.labels, made.needs.disk_mib) == (100, {"a": "b"}, 2048)
    assert orjson.loads(made.body)["needs"]["cpus"] == 2


def test_the_queue_is_the_submissions_else_the_types() -> None:
    job_type = registered(queue="own")
    assert job(job_type).queue == "own"
    assert job(job_type, submission(job_queue="other")).queue == "other"


def test_a_type_can_go_without_dedup() -> None:
    job_type = registered(io={"enable_dedup": False})
    one = submission()
    message = jobs_of(one, Creators(registry={job_type.id: job_type}.get).of(one), ORIGIN, 300)
    assert isinstance(message.body, Submitted)
    assert message.body.dedup is False
    assert orjson.loads(message.body.jobs[0].body)["job_info"]["dedup"] is False


def test_configured_creators_pass_a_registered_type_on_and_keep_their_queues_and_limits() -> None:
    own = Creator("own", ("q",), lambda payload: {"type": "t", "params": payload})
    configured = Creators({"job-x:v1": (Creator("passing", ("p",), soft_time_limit=5), own)})
    job_type = registered()
    one = submission()
    message = jobs_of(one, configured.knowing({job_type.id: job_type}.get).of(one), ORIGIN, 300)
    assert isinstance(message.body, Submitted)
    passing, other = message.body.jobs
    assert (passing.queue, passing.soft_time_limit) == ("p", 5)
    assert orjson.loads(passing.body)["command"]["arguments"] == ["N46", "5.0"]
    assert orjson.loads(other.body)["params"] == {"tile": "N46"}
    assert other.time_limit is None


def test_a_payload_that_is_wrong_names_the_type_and_each_parameter_but_no_value() -> None:
    one = submission(payload={"zoom": "secret", "tpyo": 1})
    with pytest.raises(UnacceptableError) as error:
        job(registered(), one)
    text = str(error.value)
    for part in ("job-x:v1: $.payload.tile: found nothing", "$.payload.zoom", "$.payload.tpyo"):
        assert part in text
    assert "secret" not in text


def test_two_registered_types_that_take_the_same_parameters_are_no_duplicates() -> None:
    first, second = (
        jobs_of(submission(job_type=name), (Creator(CATCH_ALL, ("q",)),), ORIGIN, 300)
        for name in ("job:job-x:v1", "job-y:v1")
    )
    assert first.body.payload_hash == second.body.payload_hash == identity.payload_hash({"tile": "N46"})
    assert first.family != second.family


def test_the_family_does_not_depend_on_what_is_registered_at_the_time() -> None:
    one, job_type = submission(), registered()
    before = jobs_of(one, Creators().of(one), ORIGIN, 300)
    after = jobs_of(one, Creators(registry={job_type.id: job_type}.get).of(one), ORIGIN, 300)
    refused = rejected({"job_type": "job:job-x:v1", "payload": {"tile": "N46"}}, "e", ORIGIN)
    assert before.family == after.family == refused.family


def test_a_payload_hash_of_the_callers_own_counts_across_types() -> None:
    families = {
        jobs_of(submission(job_type=name, payload_hash="h"), (Creator(CATCH_ALL, ("q",)),), ORIGIN, 300).family
        for name in ("job-x:v1", "job-y:v1")
    }
    assert families == {identity.family_of_hash("h")}


class Log:
    """Says how often it was read to its end, and what is found then."""

    def __init__(self) -> None:
        self.reads = 0
        self.late: list[tuple[str, bytes | None]] = []
        self.types = JobTypes(self.read)

    def read(self) -> None:
        self.reads += 1
        for key, value in self.late:
            self.types.fold(key, value)


def test_the_last_record_of_a_type_counts() -> None:
    log = Log()
    old, new = registered(queue="old"), registered(queue="new")
    log.types.fold(key_of(old.id), old.dump())
    log.types.fold(key_of(new.id), new.dump())
    log.types.fold("queue/x", b"{}")
    found = log.types.of("job-x:v1")
    assert found is not None
    assert (found.queue, log.reads) == ("new", 0)
    log.types.fold(key_of(new.id), None)
    assert log.types.of("job-x:v1") is None


def test_what_was_registered_just_before_is_found_by_reading_to_the_end_once_a_batch() -> None:
    log, job_type = Log(), registered()
    assert log.types.of("job-z:v1") is None
    log.late = [(key_of(job_type.id), job_type.dump())]
    assert log.types.of("job-x:v1") is None
    log.types.begin_batch()
    assert log.types.of("job-x:v1") == job_type
    assert log.types.of("hello") is None
    assert log.reads == 2


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b'{"name": "x"}', registered(name="other").dump()])
def test_a_record_that_is_no_type_makes_its_submissions_fail_not_run_as_something_else(value: bytes) -> None:
    log = Log()
    log.types.fold(key_of("job-x:v1"), value)
    with pytest.raises(UnacceptableError, match="job-x:v1 can't be used"):
        log.types.of("job-x:v1")
