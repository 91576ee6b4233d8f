"""Rules for retries as data: what they may say, which of them a failure falls under, and how layers of them add up."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from agents.orchestrator.policy import policy_of
from pipeline import retry_rules
from pipeline.ledger.policy import Policy
from pipeline.settings import LedgerSettings, Settings


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"oom": {}}, "out-of-memory"),
        ({"exit:0": {}}, "1 to 255"),
        ({"exit:256": {}}, "1 to 255"),
        ({"exit:9-3": {}}, "range"),
        ({"exit:75;80": {}}, "exit:75"),
        ({"exit:": {}}, "exit:75"),
        ({"publish": 3}, "object"),
        ({"publish": {"attempts": 0}}, "publish.attempts: a whole number from 1 to 100"),
        ({"publish": {"attempts": 101}}, "publish.attempts"),
        ({"publish": {"attempts": True}}, "publish.attempts"),
        ({"publish": {"attempts": "3"}}, "publish.attempts"),
        ({"publish": {"backoff_ms": -1}}, "publish.backoff_ms"),
        ({"publish": {"avoid": 1}}, "publish.avoid"),
        ({"publish": {"memory_factor": 0.5}}, "publish.memory_factor"),
        ({"publish": {"memory_factor": float("nan")}}, "publish.memory_factor"),
        ({"publish": {"tries": 3}}, "publish.tries: no such field"),
        ([], "or false"),
        (True, "or false"),
        ({f"exit:{code}": {} for code in range(1, 60)}, "at most 40"),
    ],
)
def test_what_is_wrong_with_rules_is_named(rules: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        retry_rules.checked(rules)


def test_rules_that_are_right_stay_as_they_are() -> None:
    rules = {"exit:1,70-79": {"attempts": 5, "backoff_ms": 0}, "out-of-memory": {"memory_factor": 1.5, "avoid": False}}
    assert retry_rules.checked(rules) == rules
    assert retry_rules.checked(False) is False


@pytest.mark.parametrize(
    ("category", "code", "names"),
    [
        ("command-failed", 75, ["exit:75", "exit:70-79", "command-failed"]),
        ("command-failed", 71, ["exit:70-79", "command-failed"]),
        ("command-failed", 1, ["command-failed"]),
        ("command-failed", None, ["command-failed"]),
        ("processor", 75, []),
        ("soft-time-limit", 75, ["time-limit"]),
        ("hard-time-limit", None, ["hard-time-limit", "time-limit"]),
        ("time-limit", None, ["time-limit"]),
    ],
)
def test_the_most_particular_rule_comes_first(category: str, code: int | None, names: list[str]) -> None:
    known = ("command-failed", "exit:70-79", "exit:75", "time-limit", "hard-time-limit", "exit:no")
    assert list(retry_rules.names_for(dict.fromkeys(known), category, code)) == names


def test_later_layers_go_over_earlier_ones_field_by_field() -> None:
    of_type = {"publish": {"attempts": 5, "backoff_ms": 10}, "image": {}}
    assert retry_rules.merged(of_type, None, {"publish": {"attempts": 2}}) == {
        "publish": {"attempts": 2, "backoff_ms": 10},
        "image": {},
    }
    assert retry_rules.merged(None, None) is None


def test_a_layer_that_wants_no_retries_is_never_overruled() -> None:
    assert retry_rules.merged(False, {"publish": {}}) is False
    assert retry_rules.merged({"publish": {}}, False) is False


def test_settings_with_a_rule_for_no_category_are_refused() -> None:
    with pytest.raises(ValidationError, match="no category"):
        LedgerSettings(retries={"oom": {}})


def test_memory_grows_only_where_the_settings_say_how_far() -> None:
    growing = {"out-of-memory": {"memory_factor": 2}}
    with pytest.raises(ValidationError, match="retry_memory_mib"):
        LedgerSettings(retries=growing)
    assert LedgerSettings(retries=growing, retry_memory_mib=4096).retries == growing


def test_rules_reach_a_child_process_and_the_ledger_as_they_were_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"exit:75": {"attempts": 4}, "out-of-memory": {"memory_factor": 1.5}}
    made = Settings(ledger=LedgerSettings(retries=rules, retry_memory_mib=512, retry=False))
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    policy = policy_of(Settings())
    assert (policy.retries, policy.retry) == (rules, False)
    assert Policy.of(policy.json()) == policy


def test_a_policy_of_an_older_log_decides_as_it_did_then() -> None:
    assert Policy.of('{"lease_ms": 5, "unknown": {}}') == Policy(lease_ms=5)
    assert (Policy().retries, Policy().retry, Policy().retry_jitter_percent) == ({}, True, 0)


@pytest.mark.parametrize("text", ['{"retries": [1]}', '{"retries": {"publish": 5}}', '{"retries": 5}'])
def test_a_policy_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        Policy.of(text)
