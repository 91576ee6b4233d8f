"""What a registered job type makes of a submission's parameters: words, inputs, context, or what is wrong with them."""

import shlex
from typing import Any

import pytest

from pipeline.jobtypes.job_type import JobType
from pipeline.jobtypes.problems import InvalidError, Problem
from pipeline.jobtypes.resolve import Resolved, resolve
from tests.unit.jobtypes_support import document, typed

HIT = {"_id": "D1", "_source": {"urls": ["http://h/d1", "s3://b/d1"], "metadata": {"path": [7, 8]}}}


def problems(call: Any) -> list[Problem]:
    with pytest.raises(InvalidError) as error:
        call()
    return list(error.value.problems)


def test_positional_parameters_follow_the_commands_own_words_in_the_specs_order() -> None:
    made = resolve(typed({"name": "b"}, {"name": "a"}, command="/app/run.sh --fast 'two words'"), {"a": "1", "b": "2"})
    assert made.argv == ("/app/run.sh", "--fast", "two words", "2", "1")
    assert made.command == {
        "path": "/app/run.sh",
        "options": [],
        "arguments": ["--fast", "two words", "2", "1"],
        "env": [],
    }


NASTY = ["$a", "${a}", "; rm -rf /", "`id`", "$(id)", "a 'b' \"c\"", "", "-x", "$HOME", "*", "line\nline"]


@pytest.mark.parametrize("value", NASTY)
def test_a_value_stays_one_word_whatever_it_holds(value: str) -> None:
    made = resolve(typed({"name": "a"}, {"name": "b"}), {"a": value, "b": "end"})
    assert made.argv == ("/app/run.sh", value, "end")
    assert tuple(shlex.split(made.params["_command"])) == made.argv


def test_words_that_are_a_parameter_are_replaced_and_others_are_not() -> None:
    job_type = typed(
        {"name": "list", "type": "object"},
        {"name": "min-lat"},
        destination="context",
        command="/run $list ${min-lat} --x=$list",
    )
    made = resolve(job_type, {"list": ["a b", 2], "min-lat": "$list"})
    assert made.argv == ("/run", "a b", "2", "$list", "--x=$list")


def test_values_that_are_no_texts_are_json_in_the_command() -> None:
    params = [{"name": "n", "type": "number"}, {"name": "b", "type": "boolean"}, {"name": "o", "type": "object"}]
    made = resolve(typed(*params), {"n": "3", "b": "TRUE", "o": '{"k": ["it\'s"]}'})
    assert made.argv[1:] == ("3.0", "true", '{"k":["it\'s"]}')
    assert (made.params["n"], made.params["b"], made.params["o"]) == (3.0, True, {"k": ["it's"]})


def test_inputs_are_flattened_and_are_not_in_the_context() -> None:
    job_type = typed({"name": "i"}, {"name": "none", "optional": True}, destination="localize")
    made = resolve(job_type, {"i": ["a", [{"url": "b", "local_path": "c"}, ["d"]]]})
    assert made.localize_urls == ({"url": "a"}, {"url": "b", "local_path": "c"}, {"url": "d"})
    assert made.params["localize_urls"] == list(made.localize_urls)
    assert "i" not in made.params


@pytest.mark.parametrize("value", [{"href": "a"}, 5, [{"url": 5}], [None]])
def test_an_input_without_a_url_is_refused(value: Any) -> None:
    (problem,) = problems(lambda: resolve(typed({"name": "i"}, destination="localize"), {"i": value}))
    assert (problem.path, "url" in problem.expected.lower()) == ("$.payload.i", True)


def test_the_context_never_replaces_what_the_resolution_writes() -> None:
    names = ["_command", "localize_urls", "_disk_usage", "job_specification", "container_specification", "tag"]
    job_type = typed(*({"name": name} for name in names), destination="context")
    made = resolve(job_type, dict.fromkeys(names, "mine"), {"tag": "t"})
    assert made.params["_command"] == "/app/run.sh"
    assert made.params["localize_urls"] == []
    assert made.params["job_specification"]["id"] == "job-x:v1"
    assert made.params["tag"] == "t"
    assert "container_specification" not in made.params


def value_of(param: dict[str, Any], payload: dict[str, Any], fields: dict[str, Any] | None = None) -> Any:
    return resolve(typed({"name": "p", **param}, destination="context"), payload, fields).params["p"]


SOURCES: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
    ({"from": "value", "value": "fixed"}, {}, "fixed"),
    ({"from": "value", "value": "fixed"}, {"p": "fixed"}, "fixed"),
    ({"default": "d"}, {}, "d"),
    ({"default": "d"}, {"p": ""}, "d"),
    ({"default": "d"}, {"p": None}, "d"),
    ({"default": "d"}, {"p": "own"}, "own"),
    ({"optional": True}, {}, ""),
    ({"optional": True, "type": "number"}, {}, ""),
    ({"optional": True, "default": "5", "type": "number"}, {}, 5.0),
    ({}, {"p": ""}, ""),
    ({"from": "dataset_jpath:_source.urls.1"}, {"rule_hit": HIT}, "s3://b/d1"),
    ({"from": "dataset_jpath:_source.urls.-1"}, {"dataset": HIT}, "s3://b/d1"),
    ({"from": "dataset_jpath:_source.metadata.path"}, {"rule_hit": HIT}, [7, 8]),
    ({"from": "dataset_jpath:_source.nothing", "default": "d"}, {"rule_hit": HIT}, "d"),
    ({"from": "passthrough"}, {"rule": {"p": "of rule"}}, "of rule"),
    ({}, {"rule": {"kwargs": '{"p": "of kwargs"}'}}, "of kwargs"),
    ({}, {"rule": {"kwargs": {"p": "of kwargs"}}, "p": "own"}, "own"),
]


@pytest.mark.parametrize(("param", "payload", "value"), SOURCES)
def test_a_value_comes_from_its_source_then_its_default(
    param: dict[str, Any], payload: dict[str, Any], value: Any
) -> None:
    assert value_of(param, payload) == value


def test_a_passthrough_without_a_rule_is_the_submissions_own_field() -> None:
    job_type = typed({"name": "username", "from": "passthrough"})
    assert resolve(job_type, {}, {"username": "ann"}).argv[1:] == ("ann",)


@pytest.mark.parametrize(
    ("param", "payload"),
    [
        ({}, {}),
        ({}, {"p": None}),
        ({"from": "passthrough"}, {"rule": {}}),
        ({"from": "dataset_jpath:_source.a.0"}, {}),
        ({"from": "dataset_jpath:_source.urls.2"}, {"rule_hit": HIT}),
        ({"from": "dataset_jpath:_source.urls.x"}, {"rule_hit": HIT}),
        ({"from": "dataset_jpath:_source.urls.--1"}, {"rule_hit": HIT}),
        ({"from": "dataset_jpath:_source.urls.0.0"}, {"rule_hit": HIT}),
    ],
)
def test_a_required_value_that_is_missing_is_named(param: dict[str, Any], payload: dict[str, Any]) -> None:
    (problem,) = problems(lambda: value_of(param, payload))
    assert (problem.path, problem.found) == ("$.payload.p", "nothing")
    assert "required" in problem.expected


TYPES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "number"}, 3, 3.0),
    ({"type": "number"}, "1e3", 1000.0),
    ({"type": "number"}, "nan", None),
    ({"type": "number"}, True, None),
    ({"type": "number"}, "many", None),
    ({"type": "number"}, 2**53 + 1, None),
    ({"type": "boolean"}, "False", False),
    ({"type": "boolean"}, True, True),
    ({"type": "boolean"}, "yes", None),
    ({"type": "boolean"}, 1, None),
    ({"type": "date"}, "2024-06-01", "2024-06-01"),
    ({"type": "date"}, "June", None),
    ({"type": "datetime"}, "2024-06-01T12:00:00Z", "2024-06-01T12:00:00Z"),
    ({"type": "datetime"}, 5, None),
    ({"type": "email"}, "a@b.c, d@e.f", "a@b.c, d@e.f"),
    ({"type": "email"}, "nobody", None),
    ({"type": "enum", "enumerables": ["a", "b"]}, "b", "b"),
    ({"type": "enum", "enumerables": ["a", "b"]}, "c", None),
    ({"type": "region"}, '{"type": "Point"}', {"type": "Point"}),
    ({"type": "region"}, "[1]", None),
    ({"type": "object"}, "{", None),
    ({"type": "object"}, "5", None),
    ({"type": "object"}, "[" * 150 + "]" * 150, None),
    ({"type": "object"}, "[123456789012345678901234]", None),
    ({"type": "jobspec_version", "version_regex": "v\\d+"}, "v12", "v12"),
    ({"type": "jobspec_version", "version_regex": "v\\d+"}, "v12x", None),
]


@pytest.mark.parametrize(("param", "given", "value"), TYPES)
def test_a_value_is_of_its_type_or_refused(param: dict[str, Any], given: Any, value: Any) -> None:
    if value is not None:
        assert value_of(param, {"p": given}) == value
        return
    (problem,) = problems(lambda: value_of(param, {"p": given}))
    assert problem.path == "$.payload.p"
    # what a submitter wrote may be secret: only its kind is said
    assert problem.found in ("a text", "a number", "a boolean")


def test_every_problem_of_a_payload_is_said_at_once() -> None:
    job_type = typed({"name": "a"}, {"name": "n", "type": "number"}, {"name": "f", "from": "value", "value": "x"})
    found = problems(lambda: resolve(job_type, {"n": "many", "f": "y", "tpyo": 1, "_command": "/bin/other"}))
    assert sorted(one.path for one in found) == [
        "$.payload._command",
        "$.payload.a",
        "$.payload.f",
        "$.payload.n",
        "$.payload.tpyo",
    ]


def test_a_nul_character_can_not_be_in_a_command() -> None:
    assert problems(lambda: resolve(typed({"name": "a"}), {"a": "x\0y"}))


LAMBDAS: list[tuple[str, Any, Any]] = [
    ("lambda ds: get_best_url(ds['urls'])", {"urls": ["http://a", "s3://b"]}, "s3://b"),
    ("lambda ds: get_best_url(ds['urls'], best_prefix='http')", {"urls": ["s3://b", "http://a"]}, "http://a"),
    ("lambda u: get_best_url(u)", ["http://a", "http://b"], "http://a"),
    ("lambda r: region_to_bbox(r)", {"coordinates": [[[1, 10], [2, 20]]]}, [10, 20, 1, 2]),
    (
        "lambda d: get_partial_products(d['id'], d['urls'][-1], ['a/b.txt'])",
        {"id": "i", "urls": ["s3://x"]},
        [{"url": "s3://x/a/b.txt", "local_path": "i/a/b.txt"}],
    ),
    ("lambda x: int(x['n'])", {"n": 3.0}, 3),
    ("lambda x: [x['a'], 1, None]", {"a": "b"}, ["b", 1, None]),
]


@pytest.mark.parametrize(("text", "given", "value"), LAMBDAS)
def test_a_lambda_of_known_functions_is_applied(text: str, given: Any, value: Any) -> None:
    assert value_of({"type": "object", "lambda": text}, {"p": given}) == value


REFUSED = [
    "5",
    "lambda: 5",
    "lambda x, y: x",
    "lambda x=1: x",
    "lambda *x: x",
    "lambda x: y",
    "lambda x: x.__class__",
    "lambda x: ().__class__",
    "lambda x: __import__('os')",
    "lambda x: eval(x)",
    "lambda x: get_best_url",
    "lambda x: int.from_bytes(x)",
    "lambda x: x(1)",
    "lambda x: [y for y in x]",
    "lambda x: 9**9**9",
    "lambda x: 'a' * 10000000000",
    "lambda x: f'{x}'",
    "lambda x: get_best_url(*x)",
    "lambda x: get_best_url(**x)",
    "lambda x: x[1:2]",
    "lambda x: lambda y: y",
    "lambda x: (x := 5)",
    "lambda x: x if x else x",
    "(" * 240,
]


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_lambda_is_refused_when_it_is_registered(text: str) -> None:
    assert problems(lambda: typed({"name": "p", "lambda": text}))[0].path == "$.params[0].lambda"


@pytest.mark.parametrize(
    ("text", "given"), [("lambda x: x['a']", {"b": 1}), ("lambda x: int(x['n'])", {"n": "9" * 30})]
)
def test_a_lambda_that_fails_on_a_value_is_that_values_problem(text: str, given: Any) -> None:
    (problem,) = problems(lambda: value_of({"type": "object", "lambda": text}, {"p": given}))
    assert problem.path == "$.payload.p"


def test_a_job_carries_its_spec_without_the_parameters_and_its_container() -> None:
    raw = document({"name": "a"}, post=["my.post"]) | {"container": {"name": "img"}}
    made: Resolved = resolve(JobType.of(raw), {"a": "1", "_disk_usage": "5GB", "_sciflo_wuid": "w"})
    specification = made.params["job_specification"]
    assert (specification["id"], specification["job-version"], specification["post"]) == ("job-x:v1", "v1", ["my.post"])
    assert "params" not in specification
    assert made.params["container_specification"] == {"name": "img"}
    assert (made.params["_disk_usage"], made.params["_sciflo_wuid"]) == ("5GB", "w")


def test_a_type_without_a_hysds_io_takes_what_its_submitter_gives() -> None:
    raw = {key: value for key, value in document({"name": "a"}).items() if key != "hysds_io"}
    assert resolve(JobType.of(raw), {"a": 5}).argv == ("/app/run.sh", "5")
