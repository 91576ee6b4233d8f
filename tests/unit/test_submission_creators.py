"""Job creators: what the operator configures, where functions may come from, what is done with what they return."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.submission.creators import CATCH_ALL, Created, Creators, default_queue, load
from pipeline.submission.errors import CreatorsError, UnacceptableError
from pipeline.submission.request import Submission

MODULE = """
COUNT = []
COUNT.append(1)

def both(payload, job_type):
    return {"type": job_type, "params": payload, "localize_urls": [], "name": "n-%d" % len(COUNT)}

def payload_alone(payload):
    payload["changed"] = True
    return {"type": "own", "params": payload}

def fails(payload):
    raise KeyError("what")

def text(payload):
    return "no dict"

def unserialisable(payload):
    return {"type": "t", "params": {"a": object()}}

def untyped(payload):
    return {"params": {}}

CONSTANT = 5
"""


def write(folder: Path, function: str, **more: Any) -> Creators:
    directory = folder / "creators"
    directory.mkdir(exist_ok=True)
    (directory / "made.py").write_text(MODULE)
    creator = {"job_name": "creator-1", "function": function, "job_queues": ["q1", "q2", "q1"]} | more
    file = folder / "orchestrator_jobs.json"
    file.write_text(json.dumps({"configs": [{"job_type": "job:job-x:v1", "job_creators": [creator]}]}))
    return load(file, directory)


def submission(**fields: Any) -> Submission:
    return Submission.model_validate({"job_type": "job:job-x:v1", "payload": {"a": 1}} | fields)


def create(creators: Creators) -> Created:
    (creator,) = creators.of(submission())
    return creator.create(submission())


def test_a_function_gets_the_job_type_where_it_asks_for_it(tmp_path: Path) -> None:
    made = create(write(tmp_path, "made.both"))
    assert (made.type, made.params) == ("job-x:v1", {"a": 1})


def test_a_function_of_one_argument_gets_a_payload_of_its_own(tmp_path: Path) -> None:
    (creator,) = write(tmp_path, "made.payload_alone").of(submission())
    one = submission()
    assert creator.create(one).params == {"a": 1, "changed": True}
    assert one.payload == {"a": 1}


def test_a_module_is_loaded_once(tmp_path: Path) -> None:
    creators = write(tmp_path, "made.both")
    assert create(creators).name == create(creators).name == "n-1"


def test_a_queue_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    (creator,) = write(tmp_path, "made.both").of(submission())
    assert creator.queues == ("q1", "q2")


def test_a_type_is_found_with_and_without_its_prefix(tmp_path: Path) -> None:
    creators = write(tmp_path, "made.both")
    assert creators.of(submission(job_type="job-x:v1")) == creators.of(submission(job_type="job:job-x:v1"))


@pytest.mark.parametrize(
    ("function", "error"),
    [("fails", "KeyError"), ("text", "a dict is needed"), ("unserialisable", "object"), ("untyped", "type: Field")],
)
def test_a_creator_that_fails_is_named(tmp_path: Path, function: str, error: str) -> None:
    with pytest.raises(UnacceptableError, match=f"job creator creator-1: .*{error}"):
        create(write(tmp_path, f"made.{function}"))


@pytest.mark.parametrize(
    "function",
    [
        "made",
        "made.missing",
        "made.CONSTANT",
        "missing.both",
        "..made.both",
        "os.system",
        "made.both()",
        "__import__('os').system",
        "/etc/passwd.x",
        "",
    ],
)
def test_a_function_that_is_not_in_the_directory_is_refused_at_the_start(tmp_path: Path, function: str) -> None:
    with pytest.raises(CreatorsError):
        write(tmp_path, function)


def test_a_link_that_leads_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(MODULE)
    (tmp_path / "creators").mkdir()
    (tmp_path / "creators" / "linked.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(CreatorsError, match="leads out"):
        write(tmp_path, "linked.both")


def test_without_a_directory_no_file_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, "made.both")
    with pytest.raises(CreatorsError, match="no creators directory"):
        load(tmp_path / "orchestrator_jobs.json", None)


def test_modules_of_the_directory_hide_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "creators").mkdir()
    (tmp_path / "creators" / "json.py").write_text("def f(payload):\n    return {'type': 'mine', 'params': payload}\n")
    assert create(write(tmp_path, "json.f")).type == "mine"
    assert __import__("json") is json


def test_modules_of_the_directory_may_import_each_other(tmp_path: Path) -> None:
    (tmp_path / "creators").mkdir()
    (tmp_path / "creators" / "top.py").write_text("from .made import payload_alone\n")
    assert create(write(tmp_path, "top.payload_alone")).type == "own"


@pytest.mark.parametrize(
    "more",
    [
        {"job_queues": []},
        {"job_queues": ["Bad Queue"]},
        {"time_limit": 0},
        {"job_name": ""},
        {"soft_time_limit": "5"},
        {"retry": {"oom": {}}},
    ],
)
def test_a_wrong_configuration_is_refused_at_the_start(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(CreatorsError, match=next(iter(more))):
        write(tmp_path, "made.both", **more)


def test_two_creators_of_one_name_are_refused(tmp_path: Path) -> None:
    creator = {"job_name": "same", "function": CATCH_ALL, "job_queues": ["q"]}
    file = tmp_path / "file.json"
    file.write_text(json.dumps({"configs": [{"job_type": "x", "job_creators": [creator, creator]}]}))
    with pytest.raises(CreatorsError, match="same job_name"):
        load(file, None)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"configs": {}}'])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(CreatorsError, match=r"file\.json"):
        load(tmp_path / "file.json", None)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CreatorsError, match="missing"):
        load(tmp_path / "missing.json", None)


def test_an_unconfigured_type_passes_through_on_its_own_queue() -> None:
    one = submission(payload={"localize_urls": ["s3://a/b"]})
    (creator,) = Creators().of(one)
    assert (creator.name, creator.queues) == (CATCH_ALL, ("job-x__v1",))
    made = creator.create(one)
    assert (made.type, made.params, made.localize_urls) == ("job-x:v1", one.payload, ["s3://a/b"])


def test_an_unconfigured_type_goes_where_its_submission_says() -> None:
    (creator,) = Creators().of(submission(job_queue="fast"))
    assert creator.queues == ("fast",)


@pytest.mark.parametrize("queue", ["Bad", "a b", "../x", "é", "x" * 81, "a/b", "$(id)"])
def test_a_queue_with_odd_characters_is_refused(queue: str) -> None:
    with pytest.raises(UnacceptableError, match="job_queue"):
        Creators().of(submission(job_queue=queue))


def test_a_type_whose_own_name_is_no_queue_is_refused() -> None:
    assert default_queue("Job-A:v1") == "job-a__v1"
    with pytest.raises(UnacceptableError, match="job type's own queue"):
        Creators().of(submission(job_type="job:a b"))


def test_the_template_that_is_delivered_can_be_used() -> None:
    templates = Path(__file__).resolve().parents[2] / "ops" / "templates"
    assert load(templates / "orchestrator_jobs.json", None).types
