"""What is wrong with a job-spec, a hysds-io or a job type: everything is said at once, and where it stands."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

import ops.templates
from pipeline.identity import type_of
from pipeline.jobtypes import check, files, hysds_io, job_spec, job_type
from pipeline.jobtypes.files import Extra
from pipeline.jobtypes.job_type import JobType, type_id
from pipeline.jobtypes.problems import InvalidError
from pipeline.work.worker_config import JobWorkerConfig
from tests.unit.jobtypes_support import document, spec

TEMPLATES = Path(ops.templates.__file__).parent


def said(problems: list[Any]) -> set[tuple[str, str]]:
    return {(one.path, one.expected) for one in problems}


def test_everything_that_is_wrong_with_a_job_spec_is_said_with_its_path() -> None:
    wrong = {
        "params": [{"name": "a", "destination": "postional"}, {"destination": "context"}, {"name": "b c"}],
        "disk_usage": "10 potatoes",
        "soft_time_limit": "600",
        "time_limit": 0,
        "imported_worker_files": {"/a": ["/b", "rx"]},
        "dependency_images": [{"container_image_url": 5}],
        "pre": ["no function"],
        "disable_pre_builtins": "yes",
    }
    found = job_spec.problems(wrong)
    assert said(found) == {
        (
            "$.command",
            "the program in the container, and words before the parameters; $param stands for a parameter, "
            "which is required",
        ),
        ("$.params[0].destination", "one of positional, localize, context"),
        ("$.params[1].name", "1 to 128 characters without spaces, $, { and }, which is required"),
        ("$.params[2].name", "1 to 128 characters without spaces, $, { and }"),
        ("$.params[2].destination", "one of positional, localize, context, which is required"),
        ("$.disk_usage", 'a whole number and GB, MB or KB, such as "10GB"'),
        ("$.soft_time_limit", "a whole number of seconds, 1 or more"),
        ("$.time_limit", "a whole number of seconds, 1 or more"),
        ("$.imported_worker_files['/a']", 'a path, [path] or [path, "ro" or "rw"]'),
        ("$.dependency_images[0].container_image_name", "a text, which is required"),
        ("$.dependency_images[0].container_image_url", "a text or null"),
        ("$.pre[0]", 'a dotted function name, such as "package.module.function"'),
        ("$.disable_pre_builtins", "true or false"),
    }
    first = next(one for one in found if one.path == "$.params[0].destination")
    assert str(first) == (
        'job-spec: $.params[0].destination: found "postional", expected one of positional, localize, context'
    )


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("/bin/sh -c 'open", "can't be split"),
        ("''", "no program"),
        ("$a x", "the parameter $a"),
        ("/run ${b} $c", "${b}, which is no parameter"),
        ("/run \0", "no program"),
    ],
)
def test_a_command_that_could_not_run_is_refused(command: str, found: str) -> None:
    problems = job_spec.problems(spec(("a", "context"), command=command))
    assert problems
    assert found in problems[0].found


def test_two_parameters_of_one_name_are_refused() -> None:
    (problem,) = job_spec.problems(spec(("a", "context"), ("a", "positional")))
    assert problem.path == "$.params[1].name"


PARAMS: list[tuple[dict[str, Any], str, str]] = [
    ({"from": "value"}, "$.params[0].value", "required"),
    ({"type": "enum"}, "$.params[0].enumerables", "required"),
    ({"type": "jobspec_version"}, "$.params[0].version_regex", "required"),
    ({"type": "object", "default": "text"}, "$.params[0].default", "a list or an object"),
    ({"type": "text", "default": []}, "$.params[0].default", "a text"),
    ({"type": "number", "default": "many"}, "$.params[0].default", "a number"),
    ({"type": "enum", "enumerables": ["a"], "default": "b"}, "$.params[0].default", "one of a"),
    ({"from": "value", "value": "x", "type": "boolean"}, "$.params[0].value", "true or false"),
    ({"from": "elsewhere"}, "$.params[0].from", "value, submitter, passthrough or dataset_jpath:PATH"),
    ({"type": "colour"}, "$.params[0].type", "one of text, number"),
    ({"type": "container_version", "version_regex": "("}, "$.params[0].version_regex", "a regular expression"),
    ({"lambda": "__import__('os').system('id')"}, "$.params[0].lambda", "get_best_url"),
    ({"lambda": "lambda x: open(x)"}, "$.params[0].lambda", "get_best_url"),
]


@pytest.mark.parametrize(("param", "path", "expected"), PARAMS)
def test_the_conditions_of_a_hysds_io_hold(param: dict[str, Any], path: str, expected: str) -> None:
    (problem,) = hysds_io.problems({"params": [{"name": "p", "from": "submitter", **param}]})
    assert problem.path == path
    assert expected in problem.expected


def test_spec_and_io_must_list_the_same_parameters() -> None:
    raw = document({"name": "a"})
    raw["job_spec"]["params"].append({"name": "only-in-spec", "destination": "context"})
    raw["hysds_io"]["params"].append({"name": "only-in-io", "from": "submitter"})
    with pytest.raises(InvalidError) as error:
        JobType.of(raw)
    assert {(one.document, one.expected) for one in error.value.problems} == {
        ("hysds-io", "the parameter only-in-spec of the job-spec"),
        ("job-spec", "the parameter only-in-io of the hysds-io"),
    }


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": "a b"}, "$.name"),
        ({"name": "x\n"}, "$.name"),
        ({"version": ""}, "$.version"),
        ({"queue": "Not A Queue"}, "$.queue"),
        ({"queue": None, "name": "n" * 90}, "$.queue"),
        ({"container": {"url": "x"}}, "$.container.name"),
        ({"needs": {"memory": 5}}, "$.needs.memory"),
        ({"needs": {"cpus": 0}}, "$.needs.cpus"),
        ({"retry": {"oom": {}}}, "$.retry"),
        ({"retry": True}, "$.retry"),
        ({"job_spec": []}, "$.job_spec"),
        ({"extra": "x" * 300_000}, "$"),
    ],
)
def test_a_job_type_that_can_not_be_used_is_refused(change: dict[str, Any], path: str) -> None:
    assert [one.path for one in job_type.problems({**document({"name": "a"}), **change})] == [path]


@pytest.mark.parametrize("raw", [None, [], 5, "x", {}, {"job_spec": {"params": 5}}])
def test_whatever_is_no_job_type_is_answered_with_problems(raw: Any) -> None:
    assert job_type.problems(raw)


def test_nesting_without_end_is_a_problem_not_a_crash() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    raw = document({"name": "a", "from": "value", "value": deep})
    assert [one.path for one in job_type.problems(raw)] == ["$"]


def test_what_could_be_better_is_advice() -> None:
    raw = document({"name": "tag"}, time_limit=601, soft_time_limit=600, soft_time_limt=5)
    raw["job_spec"]["required_queues"] = ["Not A Queue"]
    made = JobType.of(raw)
    advice = job_type.advice(raw)
    assert made.queue == "job-x__v1"
    assert [line.partition(": ")[2] for line in advice] == [
        "$.soft_time_limt is read by nobody; is soft_time_limit meant?",
        "$.time_limit: 601 s leaves less than 60 s after soft_time_limit, 600 s",
        "$.params: tag isn't in the context: that name is the resolution's own",
        "'Not A Queue' is no queue name here ([a-z0-9._-]{1,80}), and isn't used",
    ]


def test_the_queue_is_the_types_own_else_the_first_that_its_spec_names_else_its_name() -> None:
    named = document({"name": "a"}, **{"recommended-queues": ["later"], "required_queues": ["first"]})
    assert JobType.of({**named, "queue": "own"}).queue == "own"
    assert JobType.of(named).queue == "first"
    assert JobType.of(document({"name": "a"})).queue == "job-x__v1"


def test_an_id_is_not_taken_for_a_prefix_and_a_type() -> None:
    assert type_of(type_id("hello", "v1")) == type_id("job-hello", "v1") == "job-hello:v1"


def write(folder: Path, name: str, value: Any) -> Path:
    file = folder / name
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def test_a_pair_of_hysds_files_is_a_type(tmp_path: Path) -> None:
    raw = document({"name": "a"})
    pair = [
        write(tmp_path, "job-spec.json.hello", raw["job_spec"]),
        write(tmp_path, "hysds-io.json.hello", raw["hysds_io"]),
    ]
    (made,) = files.load(pair, Extra(version="v2", image="img:1", queue="q"))
    assert (made.id, made.queue, made.container) == ("job-hello:v2", "q", {"name": "img:1"})
    (of_folder,) = files.load([tmp_path], Extra(version="v2"))
    assert of_folder.spec == made.spec


def test_the_ids_of_a_pair_give_its_name_and_version(tmp_path: Path) -> None:
    raw = document({"name": "a"}, id="job-named:v9", container="container-x:v9")
    (made,) = files.load([write(tmp_path, "job-spec.json.other", raw["job_spec"])])
    assert (made.id, made.container) == ("job-named:v9", {"name": "container-x:v9"})


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.json", "{", "no JSON"),
        ("a.json", "[]", "a list"),
        ("a.json", '{"a": 123456789012345678901234}', "no JSON: integers of more than 64 bits"),
        ("hysds-io.json.a", "{}", "a hysds-io alone"),
        ("job-spec.json.a", "{}", "nothing"),
    ],
)
def test_a_file_that_is_no_type_is_named(tmp_path: Path, name: str, content: str, found: str) -> None:
    (read,) = files.read([write(tmp_path, name, content)])
    assert read.problems
    assert read.problems[0].document == name
    assert read.problems[0].found.startswith(found)


def test_a_path_in_a_whole_file_begins_at_the_file(tmp_path: Path) -> None:
    raw = document({"name": "a"})
    raw["job_spec"]["time_limit"] = "soon"
    (read,) = files.read([write(tmp_path, "a.json", raw)])
    assert [(one.document, one.path) for one in read.problems] == [("a.json", "$.job_spec.time_limit")]


def test_two_files_of_one_type_are_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write(tmp_path, name, document({"name": "a"}))
    with pytest.raises(InvalidError, match="job-x:v1"):
        files.load([tmp_path])


def test_a_worker_configuration_says_everything_that_is_wrong(tmp_path: Path) -> None:
    file = write(tmp_path, "job_worker.json", {"configs": [{"type": "a", "command": {"options": "x"}}, {"type": ""}]})
    with pytest.raises(ValueError) as error:
        JobWorkerConfig.load(file)
    for path in ("$.configs[0].command.path", "$.configs[0].command.options", "$.configs[1].type"):
        assert path in str(error.value)


def test_what_the_project_ships_is_valid() -> None:
    config = orjson.loads((TEMPLATES / "job_worker.json").read_bytes())
    assert check.problems(check.Kind.JOB_WORKER, config) == []
    (made,) = files.load([TEMPLATES / "job_type.json"])
    assert (made.id, job_type.advice(made.raw)) == ("job-hello:v1.0", [])
