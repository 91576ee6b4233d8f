"""Which processors a job gets: never one that the operator hasn't listed."""

import pytest

from pipeline.processors.plan import Allowed, Plan, plan
from pipeline.processors.processor import NotAllowedError
from pipeline.processors.runner import call, find

ALLOWED = Allowed(pre=("site.login",), post=("site.log",), on_request=("extra", "site.more"))


def test_each_job_gets_the_operators_then_its_own() -> None:
    document = {"params": {"job_specification": {"pre": ["extra"], "post": ["site.more", "site.more"]}}}
    assert plan(document, ALLOWED) == Plan(pre=("site.login", "extra"), post=("site.log", "site.more"))
    assert plan({}, ALLOWED) == Plan(pre=("site.login",), post=("site.log",))


def test_what_runs_for_each_job_may_be_named_and_runs_once() -> None:
    assert plan({"pre": ["site.login"]}, ALLOWED).pre == ("site.login",)


def test_the_document_comes_before_its_specification() -> None:
    document = {"pre": ["extra"], "params": {"job_specification": {"pre": ["site.more"]}}}
    assert plan(document, ALLOWED).pre == ("site.login", "extra")


@pytest.mark.parametrize("given", [["os.system"], ["extra "], "extra", [5], {"extra": 1}, ["site.log"]])
def test_a_message_does_not_decide_which_code_runs(given: object) -> None:
    with pytest.raises(NotAllowedError):
        plan({"pre": given}, ALLOWED)


def test_the_built_in_ones_can_be_switched_off() -> None:
    made = plan(
        {"params": {"job_specification": {"disable_pre_builtins": True, "disable_post_builtins": True}}}, ALLOWED
    )
    assert (made.pre_builtins, made.post_builtins) == (False, False)
    assert plan({"disable_pre_builtins": "yes"}, ALLOWED).pre_builtins is True


@pytest.mark.parametrize("name", ["absent", "os.absent", "absent.module.f", "os.sep"])
def test_a_name_that_leads_to_no_function_is_an_error(name: str) -> None:
    with pytest.raises(LookupError):
        find(name)


def test_a_failing_function_is_an_answer() -> None:
    said = call({"name": "os.path.join", "directory": "/", "job": {}, "context": {}})
    assert said["error"].startswith("TypeError")
