"""The jobs of a submission: who they are, what they carry, and what is said where none can be made."""

from typing import Any

import orjson
import pytest

from pipeline import identity
from pipeline.codec import Codec
from pipeline.identity import asked_of
from pipeline.jobtypes.job_type import JobType
from pipeline.messages.inbox import Inbox, NewJob, Rejected, Source, Submitted
from pipeline.submission.creators import Creator, Creators
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.limits import with_gap
from pipeline.submission.rejection import rejected
from pipeline.submission.request import Submission, parse
from tests.unit.jobtypes_support import document as spec_document

ORIGIN = Origin("jobs.submit", Source("submit", 3, 17), 1_700_000_000_000)
GAP = 300


def submission(**fields: Any) -> Submission:
    return Submission.model_validate({"job_type": "job:x:v1", "payload": {"a": 1}} | fields)


def submitted(
    one: Submission, creators: tuple[Creator, ...] | None = None, origin: Origin = ORIGIN
) -> tuple[Inbox, Submitted]:
    message = jobs_of(one, Creators().of(one) if creators is None else creators, origin, GAP)
    assert isinstance(message.body, Submitted)
    return message, message.body


def body(one: Submission, creators: tuple[Creator, ...] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(submitted(one, creators)[1].jobs[0].body)
    return document


def creator(label: str = "c", queues: tuple[str, ...] = ("q",), **made: Any) -> Creator:
    return Creator(label, queues, lambda payload: {"type": "t", "params": payload} | made)


def test_a_message_says_where_and_when_it_came_from() -> None:
    message, content = submitted(submission())
    assert (message.source, message.time) == (ORIGIN.source, ORIGIN.time)
    assert content.submission_id == "jobs.submit-3-17"
    assert message.family == identity.family_of_hash(content.payload_hash)
    assert content.jobs[0].job_id.startswith(message.family)


def test_the_clients_own_submission_id_is_kept() -> None:
    assert submitted(submission(submission_id="mine"))[1].submission_id == "mine"


def _asked(jobs: tuple[NewJob, ...]) -> list[str]:
    return [asked_of(job.job_id) for job in jobs]


def test_a_submission_that_is_sent_again_from_elsewhere_asks_for_the_jobs_of_its_first_place() -> None:
    again = Origin("jobs.submit", Source("submit", 5, 99), 1, named=ORIGIN.submission_id)
    first, second = submitted(submission())[1], submitted(submission(), origin=again)[1]
    assert (second.submission_id, _asked(second.jobs)) == (first.submission_id, _asked(first.jobs))
    assert submitted(submission(submission_id="mine"), origin=again)[1].submission_id == "mine"


def test_the_same_submission_elsewhere_in_the_log_asks_for_the_same_jobs_under_other_ids() -> None:
    later = Origin("jobs.submit", Source("submit", 5, 99), 1)
    one = submission(submission_id="mine")
    first, second = submitted(one)[1].jobs, submitted(one, origin=later)[1].jobs
    assert _asked(first) == _asked(second)
    assert [job.job_id for job in first] != [job.job_id for job in second]
    assert submitted(one, origin=later)[1].jobs == second


def test_each_creator_and_queue_makes_a_job_of_its_own() -> None:
    jobs = submitted(submission(), (creator("a", ("q", "r")), creator("b", ("q",))))[1].jobs
    assert [(job.creator, job.queue) for job in jobs] == [("a", "q"), ("a", "r"), ("b", "q")]
    assert len({job.job_id for job in jobs}) == 3
    documents = [orjson.loads(job.body) for job in jobs]
    assert [one["job_id"] for one in documents] == [job.job_id for job in jobs]
    assert [one["job_info"]["job_queue"] for one in documents] == ["q", "r", "q"]


def test_where_one_creator_fails_no_job_is_made() -> None:
    def fails(_payload: Any) -> Any:
        raise RuntimeError("broken")

    with pytest.raises(UnacceptableError, match="job creator bad: RuntimeError: broken"):
        submitted(submission(), (creator("good"), Creator("bad", ("q",), fails)))


def sent_by(principal: str | None) -> Origin:
    return Origin("any", ORIGIN.source, 0, principal)


def test_a_hash_of_the_caller_wins_and_counts_within_its_principal() -> None:
    message, content = submitted(submission(payload_hash="mine"))
    assert content.payload_hash == "mine"
    assert message.family == identity.family_of_hash("mine")
    assert submitted(submission(payload_hash="mine"), origin=sent_by("alice"))[0].family != message.family


@pytest.mark.parametrize("own", [{}, {"payload_hash": "mine"}, {"job_type": "job-x:v1"}])
def test_no_hash_of_one_principal_is_in_a_family_of_another(own: dict[str, Any]) -> None:
    families = {submitted(submission(**own), origin=sent_by(name))[0].family for name in (None, "alice", "bob")}
    assert len(families) == 3


def test_a_rejected_submission_is_in_no_family_of_another_principal() -> None:
    broken = [{}, {"submission_id": "chosen"}, {"payload": {"a": 1}}, {"payload_hash": "mine"}]
    for record in broken:
        families = {rejected(record, "broken", sent_by(name)).family for name in (None, "alice", "bob")}
        assert len(families) == 3, record


def test_a_job_says_who_sent_it_and_whether_the_broker_vouches_for_that() -> None:
    def said(origin: Origin, **own: Any) -> Any:
        return orjson.loads(submitted(submission(**own), origin=origin)[1].jobs[0].body)["submitter"]

    assert said(sent_by("alice"), username="bob") == {"name": "alice", "verified": True}
    assert said(sent_by(None), username="bob") == {"name": "bob", "verified": False}
    assert said(sent_by(None)) == {"verified": False}
    refused = rejected({"username": "bob"}, "broken", sent_by("alice")).body
    assert isinstance(refused, Rejected)
    assert orjson.loads(refused.body)["submitter"] == {"name": "alice", "verified": True}


def test_the_body_has_the_fields_that_the_worker_reads() -> None:
    one = submission(
        submission_id="s",
        priority=7,
        tag="t",
        tags=["t", "u"],
        username="ops",
        context={"k": 1},
        time_limit=100,
        soft_time_limit=50,
        container_image_name="img:1",
        container_mappings={"/a": ["/b", "ro"]},
        runtime_options={"gpus": "all"},
        needs={"memory_mib": 64, "cpus": 2, "labels": {"zone": "a"}, "engine": "docker"},
        publish_overwrite_ok=True,
    )
    message, content = submitted(one)
    job = content.jobs[0]
    assert orjson.loads(job.body) == {
        "type": "x:v1",
        "name": "job__x__v1",
        "job_id": job.job_id,
        "priority": 7,
        "tag": "t",
        "tags": ["t", "u"],
        "username": "ops",
        "submitter": {"name": "ops", "verified": False},
        "params": {"a": 1},
        "localize_urls": [],
        "context": {"k": 1},
        "container_image_name": "img:1",
        "container_image_url": None,
        "container_image_urls": None,
        "container_mappings": {"/a": ["/b", "ro"]},
        "runtime_options": {"gpus": "all"},
        "dependency_images": [],
        "publish_overwrite_ok": True,
        "container_of_submitter": True,
        "needs": {
            "memory_mib": 64,
            "disk_mib": 0,
            "gpus": 0,
            "labels": {"zone": "a"},
            "engine": "docker",
            "cpus": 2.0,
        },
        "job_info": {
            "id": job.job_id,
            "job_queue": "x__v1",
            "time_limit": 350,
            "soft_time_limit": 50,
            "payload_hash": content.payload_hash,
            "dedup": True,
            "job_payload": {"job_type": "job:x:v1", "payload_task_id": "s"},
        },
    }
    assert (job.time_limit, job.soft_time_limit, job.priority, job.queue) == (350, 50, 7, "x__v1")
    assert Inbox.of(Codec().decode("inbox", Codec().encode("inbox", message.record()))) == message


def test_what_is_optional_and_empty_is_left_out() -> None:
    assert {"tag", "tags", "username", "context", "command", "publish_overwrite_ok"}.isdisjoint(body(submission()))


@pytest.mark.parametrize(
    ("soft", "hard", "result"),
    [
        (None, None, None),
        (None, 5, 5),
        (100, None, 400),
        (100, 50, 400),
        (100, 400, 400),
        (100, 401, 401),
    ],
)
def test_a_hard_limit_leaves_room_after_the_soft_one(soft: int | None, hard: int | None, result: int | None) -> None:
    assert with_gap(soft, hard, GAP) == result


def test_a_creators_limit_overrides_the_submissions() -> None:
    limited = Creator("c", ("q",), None, False, 1000, 2000)
    job = submitted(submission(soft_time_limit=1, time_limit=2), (limited,))[1].jobs[0]
    assert (job.soft_time_limit, job.time_limit) == (1000, 2000)
    half = Creator("c", ("q",), None, False, None, 2000)
    job = submitted(submission(soft_time_limit=1), (half,))[1].jobs[0]
    assert (job.soft_time_limit, job.time_limit) == (1, 2000)


def test_a_limit_that_the_gap_pushes_too_far_is_refused() -> None:
    with pytest.raises(UnacceptableError, match="time_limit"):
        submitted(submission(soft_time_limit=2**31 - 1))


def test_container_fields_of_the_submission_overwrite_the_creators() -> None:
    made = creator(container_image_name="theirs", container_image_url="url", runtime_options={"a": 1})
    job = body(submission(container_image_name="mine"), (made,))
    assert job["container_image_name"] == "mine"
    assert (job["container_image_url"], job["runtime_options"]) == ("url", {"a": 1})


def test_the_submissions_context_is_merged_over_the_creators() -> None:
    made = creator(context={"a": 1, "b": 1})
    assert body(submission(context={"b": 2}), (made,))["context"] == {"a": 1, "b": 2}


def test_tag_and_username_are_the_creators_where_it_sets_them() -> None:
    job = body(submission(tag="mine", username="me"), (creator(tag="theirs"),))
    assert (job["tag"], job["username"]) == ("theirs", "me")


def test_a_job_without_a_name_is_called_by_its_id() -> None:
    job = body(submission(), (creator(),))
    assert job["name"] == job["job_id"]
    assert body(submission(), (creator(name="given:1"),))["name"] == "given:1"
    assert body(submission(job_name="a:b"))["name"] == "a__b"


def test_inputs_are_urls_or_objects_with_one() -> None:
    payload = {"localize_urls": ["s3://a", {"url": "s3://b", "local_path": "in/"}]}
    job = body(submission(payload=payload))
    assert job["localize_urls"] == [{"url": "s3://a"}, {"url": "s3://b", "local_path": "in/"}]


@pytest.mark.parametrize("urls", [[{"path": "x"}], [5], "s3://a", [{"url": None}]])
def test_inputs_without_a_url_are_refused(urls: Any) -> None:
    with pytest.raises(UnacceptableError, match="localize_urls"):
        body(submission(payload={"localize_urls": urls}))


def test_a_jobs_disk_need_is_its_payloads() -> None:
    job = submitted(submission(payload={"_disk_usage": "2GB"}))[1].jobs[0]
    assert job.needs.disk_mib == 2048


def test_side_images_are_the_creators_or_the_specifications() -> None:
    images = [{"container_image_name": "d"}]
    assert body(submission(), (creator(dependency_images=images),))["dependency_images"] == images
    specified = submission(payload={"job_specification": {"dependency_images": images}})
    assert body(specified)["dependency_images"] == images


ODD_RECORDS: list[dict[str, Any]] = [
    {},
    {"job_type": None, "payload": None},
    {"job_type": 5, "payload": 5, "submission_id": 5, "payload_hash": 5},
    {"job_type": "x", "payload": "no JSON"},
    {"job_type": "x", "payload": {"a": float("nan")}},
    {"job_type": chr(0xD800), "payload": {}},
    {"job_type": "x" * 10_000, "payload": {"a": "x" * 600_000}},
]


@pytest.mark.parametrize("record", ODD_RECORDS, ids=range(len(ODD_RECORDS)))
def test_whatever_cannot_be_accepted_is_named_and_fits(record: dict[str, Any]) -> None:
    message = rejected(record, "reason " * 10_000, ORIGIN)
    assert isinstance(message.body, Rejected)
    assert message.source == ORIGIN.source
    assert message.body.submission_id == "jobs.submit-3-17"
    assert message.body.job_id.startswith(message.family)
    assert orjson.loads(message.body.body)["job_id"] == message.body.job_id
    assert len(Codec().encode("inbox", message.record())) < 100_000


def test_a_rejection_is_in_the_family_that_its_payload_names() -> None:
    record = {"job_type": "job:x", "payload": '{"a": 1}', "priority": 99, "submission_id": "mine"}
    message = rejected(record, "priority: too large", ORIGIN)
    assert isinstance(message.body, Rejected)
    assert message.family == identity.family_of_hash(identity.payload_hash({"a": 1}))
    assert (message.body.submission_id, message.body.error) == ("mine", "priority: too large")
    assert orjson.loads(message.body.body)["params"] == {"a": 1}


def test_rejections_without_a_payload_have_families_of_their_own() -> None:
    other = Origin("jobs.submit", Source("submit", 3, 18), 0)
    assert rejected({}, "e", ORIGIN).family != rejected({}, "e", other).family


@pytest.mark.parametrize("wanted", [{"exit:75": {"attempts": 3}}, False, '{"exit:75": {"attempts": 3}}', "false"])
def test_rules_for_retries_travel_in_the_jobs_body(wanted: Any) -> None:
    expected = orjson.loads(wanted) if isinstance(wanted, str) else wanted
    assert body(submission(retry=wanted))["retry"] == expected
    assert "retry" not in body(submission())


def test_a_submissions_rules_go_over_its_creators_and_these_over_the_types() -> None:
    of_type = JobType.of(spec_document() | {"retry": {"publish": {"attempts": 5, "backoff_ms": 1}, "image": {}}})
    of_creator = Creator("c", ("q",), registered=of_type, retry={"publish": {"attempts": 4}})
    one = submission(payload={}, retry={"publish": {"avoid": False}})
    assert body(one, (of_creator,))["retry"] == {
        "publish": {"attempts": 4, "backoff_ms": 1, "avoid": False},
        "image": {},
    }
    assert body(one, (Creator("c", ("q",), retry=False),))["retry"] is False


def test_the_avro_field_for_retries_is_read_and_an_older_submission_too() -> None:
    codec = Codec()
    encoded = codec.encode("submission", {"job_type": "x", "payload": "{}", "retry": '{"image": {}}'})
    assert parse(codec.decode("submission", encoded), encoded).retry == {"image": {}}
    assert parse({"job_type": "x", "payload": "{}"}, b"\xc3\x01").retry is None


def test_a_rejection_is_called_by_an_id_that_could_have_been_taken_only() -> None:
    for given, called in (("mine", "mine"), ("\x01" * 512, ORIGIN.submission_id), (5, ORIGIN.submission_id)):
        message = rejected({"submission_id": given}, "no", ORIGIN)
        assert isinstance(message.body, Rejected)
        assert message.body.submission_id == called
