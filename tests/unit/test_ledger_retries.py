"""Which failed attempts another one follows, when and with what, and how facts say it (decision 022)."""

import json
from typing import Any

import pytest

from pipeline.identity import family_of_job
from pipeline.index.documents import plan
from pipeline.ledger.document import iso
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Job, Phase
from pipeline.messages.needs import Needs
from pipeline.retry_rules import CATEGORIES, TIME_LIMIT, WORKER_LOST
from tests.unit.ledger_support import HOLDER, OTHER, Ledger

QUEUED, STARTED, COMPLETED, FAILED = "job-queued", "job-started", "job-completed", "job-failed"
OFFLINE, ATTEMPT_FAILED = "job-offline", "attempt-failed"
#: What a worker reports; the rest of the categories is the ledger's own.
REPORTED = [name for name in CATEGORIES if name not in (WORKER_LOST, TIME_LIMIT)]


def policy(retry_memory_mib: int = 0, retry: bool = True, **rules: dict[str, Any]) -> Policy:
    named = {name.replace("_", "-"): rule for name, rule in rules.items()}
    return Policy(retries=named, retry_memory_mib=retry_memory_mib, retry=retry)


def state(ledger: Ledger, job: str) -> Job:
    return ledger.families[family_of_job(job)].jobs[job]


def fail(ledger: Ledger, job: str, category: str = "publish", attempt: int = 1, code: int = 1, **info: Any) -> None:
    told = {"error": "it broke", "short_error": "it broke", "category": category}
    ledger.report("failed", job, attempt, **told, job_info={"status": code, **info})


def start(ledger: Ledger, job: str, attempt: int, holder: str = HOLDER) -> None:
    ledger.due("retry", job, attempt)
    ledger.claim(job, attempt, holder, f"c{attempt}")
    ledger.report("started", job, attempt, holder)


def retried(ledger: Ledger, job: str) -> dict[str, Any]:
    said: dict[str, Any] = ledger.document_of(job)["retry"]
    return said


def body(**more: Any) -> dict[str, Any]:
    return {"type": "t", "job_info": {"id": "x"}, **more}


# which failures


@pytest.mark.parametrize("category", REPORTED)
def test_without_rules_a_failed_attempt_is_the_end_and_says_why(category: str) -> None:
    ledger = Ledger()
    job = ledger.started()
    fail(ledger, job, category)
    assert ledger.statuses(job) == [QUEUED, STARTED, FAILED]
    assert retried(ledger, job) == {"follows": False, "why": f"there is no rule for {category}"}
    assert ledger.of(job)[-1].reason == f"{category}; no retry: there is no rule for {category}"


@pytest.mark.parametrize("category", REPORTED)
@pytest.mark.parametrize("rule", [*REPORTED, TIME_LIMIT])
def test_a_rule_is_for_its_own_category_and_time_limit_for_each_kind_of_it(category: str, rule: str) -> None:
    ledger = Ledger(policy(**{rule: {}}))
    job = ledger.started()
    fail(ledger, job, category)
    expected = rule == category or (rule == TIME_LIMIT and category.endswith(TIME_LIMIT))
    assert ledger.statuses(job)[-1] == (ATTEMPT_FAILED if expected else FAILED)


@pytest.mark.parametrize("category", ["stopped", "unreadable", "rejected", "", "\x00", "x" * 900])
def test_what_no_rule_can_name_is_never_tried_again(category: str) -> None:
    ledger = Ledger(policy(**{name: {} for name in CATEGORIES}))
    job = ledger.started()
    fail(ledger, job, category)
    assert ledger.statuses(job)[-1] == FAILED


@pytest.mark.parametrize(("code", "follows"), [(75, True), (70, True), (79, True), (80, False), (1, False)])
def test_a_set_of_exit_codes_is_a_category_of_its_own(code: int, follows: bool) -> None:
    ledger = Ledger(policy(**{"exit:70-79": {}}))
    job = ledger.started()
    fail(ledger, job, "command-failed", code=code)
    assert retried(ledger, job)["follows"] is follows
    assert ledger.statuses(job)[-1] == (ATTEMPT_FAILED if follows else FAILED)


def test_the_limit_that_the_ledger_itself_enforces_has_a_rule_too() -> None:
    ledger = Ledger(policy(time_limit={}))
    job = ledger.started(time_limit=10)
    ledger.due("limit", job)
    assert ledger.statuses(job)[-1] == ATTEMPT_FAILED
    assert ledger.stops() == [(job, 1, HOLDER)]


@pytest.mark.parametrize("result", [{"job_info": 5}, {"job_info": {"status": "75"}}, {"category": ["x"]}])
def test_a_report_of_another_shape_is_a_failure_without_a_rule(result: dict[str, Any]) -> None:
    ledger = Ledger(policy(**{"exit:75": {}}))
    job = ledger.started()
    ledger.report("failed", job, **({"category": "command-failed"} | result))
    assert ledger.statuses(job)[-1] == FAILED


# what follows


def test_an_attempt_that_failed_is_a_fact_and_its_job_waits_for_the_next_one() -> None:
    ledger = Ledger(policy(publish={"attempts": 2, "backoff_ms": 5000}))
    job = ledger.started()
    fail(ledger, job)
    due = ledger.now + 5000
    fact, document = ledger.of(job)[-1], ledger.document_of(job)
    assert (fact.status, fact.attempt, fact.error) == (ATTEMPT_FAILED, 1, "it broke")
    assert fact.reason == f"publish; retry 1 of 1 at {iso(due)}"
    assert (document["status"], document["category"], document["holder"]) == (QUEUED, "publish", HOLDER)
    assert document["retry"] == {
        "follows": True,
        "attempt": 2,
        "due": iso(due),
        "number": 1,
        "most": 1,
        "rule": "publish",
    }
    assert (state(ledger, job).phase, state(ledger, job).due) == (Phase.BACKOFF, due)
    assert f"{job}/2" not in ledger.waiting
    ledger.due("retry", job, 2)
    assert ledger.waiting[f"{job}/2"].needs.avoid == ("w1",)
    assert (ledger.of(job)[-1].status, ledger.of(job)[-1].reason) == (QUEUED, "retry 1 of 1 (publish)")


def test_a_job_succeeds_at_attempt_3_and_each_attempt_stays_visible() -> None:
    ledger = Ledger(policy(**{"exit:75": {"attempts": 3}}))
    job = ledger.started()
    for attempt in (1, 2):
        fail(ledger, job, "command-failed", attempt, 75)
        start(ledger, job, attempt + 1)
    ledger.report("completed", job, 3)
    told = [(fact.status, fact.attempt) for fact in ledger.of(job)]
    of_attempts = [[(QUEUED, n), (STARTED, n), (ATTEMPT_FAILED, n)] for n in (1, 2)]
    assert told == [*of_attempts[0], *of_attempts[1], (QUEUED, 3), (STARTED, 3), (COMPLETED, 3)]


def test_when_the_attempts_are_used_up_the_job_fails_and_says_so() -> None:
    ledger = Ledger(policy(publish={"attempts": 2}))
    job = ledger.started()
    fail(ledger, job)
    start(ledger, job, 2)
    fail(ledger, job, attempt=2)
    assert ledger.statuses(job)[-1] == FAILED
    assert "all 2 attempts are used (publish)" in str(ledger.of(job)[-1].reason)


def test_attempts_of_all_kinds_count_together() -> None:
    ledger = Ledger(policy(publish={"attempts": 3}, localize={"attempts": 2}))
    job = ledger.started()
    fail(ledger, job)
    start(ledger, job, 2)
    fail(ledger, job, "localize", attempt=2)
    assert ledger.statuses(job)[-1] == FAILED


def test_an_explicit_retry_begins_the_count_anew() -> None:
    ledger = Ledger(policy(publish={"attempts": 2}))
    job = ledger.started()
    fail(ledger, job)
    start(ledger, job, 2)
    fail(ledger, job, attempt=2)
    ledger.control("retry", job)
    ledger.claim(job, 3, claim_id="c3")
    ledger.report("started", job, 3)
    fail(ledger, job, attempt=3)
    assert ledger.statuses(job)[-1] == ATTEMPT_FAILED


def test_a_job_with_a_retry_pending_makes_another_submission_a_duplicate() -> None:
    ledger = Ledger(policy(publish={}))
    job = ledger.started()
    fail(ledger, job)
    assert ledger.statuses(ledger.submit(submission="s2")) == ["job-deduped"]


def test_a_job_with_a_retry_pending_can_be_revoked() -> None:
    ledger = Ledger(policy(publish={}))
    job = ledger.started()
    fail(ledger, job)
    ledger.control("revoke", job)
    ledger.due("retry", job, 2)
    assert ledger.statuses(job)[-1] == "job-revoked"


def test_back_offs_double_up_to_their_longest() -> None:
    ledger = Ledger(policy(publish={"attempts": 6, "backoff_ms": 1000, "backoff_max_ms": 3000}))
    job = ledger.started()
    waits = []
    for attempt in range(1, 5):
        fail(ledger, job, attempt=attempt)
        waits.append(state(ledger, job).due - ledger.now)
        start(ledger, job, attempt + 1)
    assert waits == [1000, 2000, 3000, 3000]


def test_jitter_shortens_a_back_off_by_job_and_attempt_and_always_equally() -> None:
    def waits() -> list[int]:
        ledger = Ledger(Policy(retries={"publish": {"backoff_ms": 10_000}}, retry_jitter_percent=20))
        found = []
        for number in range(30):
            job = ledger.started(f"h{number}")
            fail(ledger, job)
            found.append(state(ledger, job).due - ledger.now)
        return found

    first = waits()
    assert first == waits()
    assert all(8000 <= wait <= 10_000 for wait in first)
    assert len(set(first)) > 20


def test_a_worker_is_avoided_unless_the_rule_says_otherwise() -> None:
    ledger = Ledger(policy(publish={"avoid": False}))
    job = ledger.started()
    fail(ledger, job)
    ledger.due("retry", job, 2)
    assert ledger.waiting[f"{job}/2"].needs.avoid == ()


def test_the_same_report_again_is_nothing_and_another_workers_is_refused() -> None:
    ledger = Ledger(policy(publish={"attempts": 3}))
    job = ledger.started()
    fail(ledger, job)
    fail(ledger, job)
    start(ledger, job, 2, OTHER)
    fail(ledger, job)
    assert "report-refused" not in ledger.statuses(job)
    assert ledger.stops() == []
    ledger.report("completed", job, 1)
    assert ledger.statuses(job)[-1] == "report-refused"


def test_a_worker_cannot_say_what_follows() -> None:
    ledger = Ledger()
    job = ledger.started()
    ledger.report("completed", job, retry={"follows": True})
    assert "retry" not in ledger.document_of(job)


# lost workers


def test_a_lost_worker_says_when_the_retry_comes() -> None:
    ledger = Ledger()
    job = ledger.started()
    ledger.due("lease", job)
    said = retried(ledger, job)
    assert (said["attempt"], said["number"], said["most"], said["rule"]) == (2, 1, 2, WORKER_LOST)
    assert said["due"] == iso(state(ledger, job).due)
    assert str(ledger.of(job)[-1].reason).startswith("worker-lost; retry 1 of 2 at ")


def test_lost_workers_may_have_a_rule_of_their_own() -> None:
    ledger = Ledger(policy(worker_lost={"attempts": 2, "backoff_ms": 7000, "avoid": False}))
    job = ledger.started()
    ledger.due("lease", job)
    assert state(ledger, job).due - ledger.now == 7000
    start(ledger, job, 2)
    ledger.due("lease", job, 2)
    assert ledger.statuses(job)[-2:] == [OFFLINE, FAILED]
    assert retried(ledger, job) == {"follows": False, "why": "all 2 attempts are used (worker-lost)"}


def test_switched_off_nothing_that_began_is_tried_again_and_what_never_began_still_waits() -> None:
    ledger = Ledger(policy(retry=False, publish={}))
    failed, lost, unstarted = ledger.started("h1"), ledger.started("h2"), ledger.submit("h3")
    fail(ledger, failed)
    ledger.due("lease", lost)
    ledger.claim(unstarted)
    ledger.due("lease", unstarted)
    assert (ledger.statuses(failed)[-1], ledger.statuses(lost)[-1]) == (FAILED, FAILED)
    assert "switched off" in retried(ledger, failed)["why"]
    assert ledger.statuses(unstarted) == [QUEUED, OFFLINE, QUEUED]


def test_a_retry_that_was_announced_comes_though_retries_are_switched_off_since() -> None:
    ledger = Ledger(policy(publish={}))
    job = ledger.started()
    fail(ledger, job)
    ledger.policy = policy(retry=False)
    ledger.due("retry", job, 2)
    assert f"{job}/2" in ledger.waiting


# memory


def test_out_of_memory_the_need_grows_in_the_run_record_the_grant_and_the_document() -> None:
    ledger = Ledger(policy(4096, out_of_memory={"memory_factor": 1.5}))
    needs = Needs(memory_mib=1000, disk_mib=7)
    job = ledger.started(needs=needs, body=body(needs={"memory_mib": 1000, "disk_mib": 7, "cpus": 2}))
    fail(ledger, job, "out-of-memory", code=137, memory_limit_mib=1000)
    assert retried(ledger, job)["memory_mib"] == 1500
    ledger.due("retry", job, 2)
    assert ledger.waiting[f"{job}/2"].needs == Needs(memory_mib=1500, disk_mib=7, avoid=("w1",))
    assert ledger.document_of(job)["job"]["needs"]["memory_mib"] == 1500
    ledger.claim(job, 2, OTHER, "c2")
    granted = json.loads(str(ledger.commands[-1].document))
    assert granted["needs"] == {"memory_mib": 1500, "disk_mib": 7, "cpus": 2}
    assert granted["grown"] == {"memory_mib": 1500}


def test_memory_grows_to_its_most_and_then_nothing_follows() -> None:
    ledger = Ledger(policy(1800, out_of_memory={"attempts": 9, "memory_factor": 2}))
    job = ledger.started(needs=Needs(memory_mib=1000))
    fail(ledger, job, "out-of-memory", memory_limit_mib=1000)
    assert retried(ledger, job)["memory_mib"] == 1800
    start(ledger, job, 2)
    fail(ledger, job, "out-of-memory", 2, memory_limit_mib=1800)
    assert ledger.statuses(job)[-1] == FAILED
    assert "it had 1800 MiB" in retried(ledger, job)["why"]


def test_what_a_job_grew_to_it_keeps_through_other_failures_and_explicit_retries() -> None:
    ledger = Ledger(policy(8192, out_of_memory={"memory_factor": 2}, publish={"attempts": 3}))
    job = ledger.started(needs=Needs(memory_mib=1000))
    fail(ledger, job, "out-of-memory", memory_limit_mib=1000)
    start(ledger, job, 2)
    fail(ledger, job, "publish", 2)
    ledger.due("retry", job, 3)
    assert ledger.waiting[f"{job}/3"].needs.memory_mib == 2000
    ledger.claim(job, 3, claim_id="c3")
    fail(ledger, job, "stopped", 3)
    ledger.control("retry", job)
    assert ledger.waiting[f"{job}/4"].needs.memory_mib == 2000


def test_a_job_that_named_no_memory_grows_from_the_limit_that_it_ran_under() -> None:
    ledger = Ledger(policy(8192, out_of_memory={"memory_factor": 2}))
    job = ledger.started()
    fail(ledger, job, "out-of-memory", memory_limit_mib=1024)
    assert state(ledger, job).memory_mib == 2048


def test_a_lower_limit_of_the_job_itself_grows_and_its_need_stays_what_it_reserved() -> None:
    ledger = Ledger(policy(8192, out_of_memory={"memory_factor": 2}))
    job = ledger.started(needs=Needs(memory_mib=4000))
    fail(ledger, job, "out-of-memory", memory_limit_mib=512)
    ledger.due("retry", job, 2)
    assert ledger.waiting[f"{job}/2"].needs.memory_mib == 4000
    ledger.claim(job, 2, claim_id="c2")
    assert json.loads(str(ledger.commands[-1].document))["grown"] == {"memory_mib": 1024}


def test_a_rule_without_a_factor_tries_again_with_what_there_was() -> None:
    ledger = Ledger(policy(out_of_memory={}))
    job = ledger.started(needs=Needs(memory_mib=1000))
    fail(ledger, job, "out-of-memory", memory_limit_mib=1000)
    ledger.due("retry", job, 2)
    assert ledger.waiting[f"{job}/2"].needs.memory_mib == 1000


def test_what_changed_goes_over_a_document_that_travels_by_reference() -> None:
    ledger = Ledger(policy(8192, out_of_memory={"memory_factor": 2}))
    job = ledger.started(needs=Needs(memory_mib=1000), body=body(params={"x": "y" * 20_000}))
    assert (ledger.commands[-1].document, ledger.commands[-1].reference is None) == (None, False)
    fail(ledger, job, "out-of-memory", memory_limit_mib=1000)
    ledger.due("retry", job, 2)
    ledger.claim(job, 2, claim_id="c2")
    grant = ledger.commands[-1]
    assert grant.reference is not None
    assert json.loads(str(grant.document)) == {"needs": {"memory_mib": 2000}, "grown": {"memory_mib": 2000}}


# a job's own rules


@pytest.mark.parametrize(
    ("own", "attempts"),
    [
        ({"publish": {"attempts": 2}}, 2),
        ({"publish": {"attempts": 5}}, 5),
        ({"publish": {"attempts": 90}}, 7),
        ({"publish": {}}, 4),
        ({"image": {"attempts": 9}}, 4),
        ({"publish": "broken"}, 4),
        ({"publish": {"attempts": "broken", "backoff_ms": [], "memory_factor": "x"}}, 4),
        ("broken", 4),
        (False, 1),
    ],
)
def test_a_job_may_lower_its_attempts_and_raise_them_to_a_limit(own: Any, attempts: int) -> None:
    ledger = Ledger(Policy(retries={"publish": {"attempts": 4}}, retry_attempts_limit=7))
    job = ledger.started(body=body(retry=own))
    attempt = 1
    fail(ledger, job)
    while ledger.statuses(job)[-1] == ATTEMPT_FAILED and attempt < 20:
        attempt += 1
        start(ledger, job, attempt)
        fail(ledger, job, attempt=attempt)
    assert attempt == attempts


def test_the_installations_own_attempts_are_no_less_for_the_limit_of_jobs() -> None:
    ledger = Ledger(Policy(retries={"publish": {"attempts": 4}}, retry_attempts_limit=1))
    job = ledger.started(body=body(retry={"publish": {"backoff_ms": 3}}))
    fail(ledger, job)
    assert (retried(ledger, job)["most"], state(ledger, job).due - ledger.now) == (3, 3)


def test_a_job_brings_a_rule_where_the_installation_has_none() -> None:
    ledger = Ledger()
    job = ledger.started(body=body(retry={"exit:75": {"attempts": 2, "backoff_ms": 60_000, "avoid": False}}))
    fail(ledger, job, "command-failed", code=75)
    said = retried(ledger, job)
    assert (said["rule"], said["most"], state(ledger, job).due - ledger.now) == ("exit:75", 1, 60_000)


def test_a_job_that_grows_asks_for_no_more_than_the_installation_allows() -> None:
    own = {"out-of-memory": {"memory_factor": 8}}
    for most, grown in ((0, None), (3000, 3000)):
        ledger = Ledger(policy(most))
        job = ledger.started(needs=Needs(memory_mib=1000), body=body(retry=own))
        fail(ledger, job, "out-of-memory", memory_limit_mib=1000)
        assert retried(ledger, job).get("memory_mib") == grown
        assert ledger.statuses(job)[-1] == (FAILED if grown is None else ATTEMPT_FAILED)


def test_a_job_may_say_that_a_lost_worker_ends_it() -> None:
    ledger = Ledger()
    job = ledger.started(body=body(retry={"worker-lost": {"attempts": 1}}))
    ledger.due("lease", job)
    assert ledger.statuses(job)[-1] == FAILED
    assert retried(ledger, job)["why"] == "its only attempt is used (worker-lost)"


# what reads it


def test_the_index_shows_a_failed_attempt_as_an_event_of_a_job_that_waits() -> None:
    ledger = Ledger(policy(publish={}))
    job = ledger.started()
    triaged = {
        "id": "triaged_job-x",
        "dataset": "triaged_job",
        "ipath": "ops::data/triaged_job",
        "system_version": "v1",
    }
    ledger.report("failed", job, category="publish", error="it broke", triaged=[triaged])
    of_job, of_fact, of_dataset = (json.loads(action.body) for action in plan(ledger.of(job)[-1]).actions)
    assert (of_job["status"], of_job["retry"]["follows"]) == (QUEUED, True)
    assert (of_fact["status"], of_fact["attempt"], of_fact["error"]) == (ATTEMPT_FAILED, 1, "it broke")
    assert of_dataset["id"] == "triaged_job-x"


# explicit retries


def test_a_retry_moves_the_job_to_another_queue_and_it_stays_there() -> None:
    ledger = Ledger(policy(publish={}))
    job = ledger.started()
    fail(ledger, job, "stopped")
    ledger.control("retry", job, queue="big")
    assert ledger.waiting[f"{job}/2"].queue == "big"
    info = ledger.document_of(job)["job"]
    assert (info["job_info"]["job_queue"], info["delivery_info"]["routing_key"]) == ("big", "big")
    ledger.claim(job, 2, claim_id="c2")
    assert json.loads(str(ledger.commands[-1].document))["job_info"]["job_queue"] == "big"
    fail(ledger, job, "publish", 2)
    ledger.due("retry", job, 3)
    assert ledger.waiting[f"{job}/3"].queue == "big"
    ledger.control("revoke", job)
    ledger.control("retry", job)
    assert ledger.waiting[f"{job}/4"].queue == "big"


@pytest.mark.parametrize("queue", ["Not a queue", "", 5, "../x"])
def test_a_retry_in_what_is_no_queue_is_refused(queue: Any) -> None:
    ledger = Ledger()
    job = ledger.started()
    fail(ledger, job)
    ledger.control("retry", job, queue=queue)
    assert ledger.statuses(job)[-1] == "control-refused"
    assert "no queue name" in str(ledger.of(job)[-1].reason)


def test_a_retry_that_names_the_last_attempt_can_be_repeated_without_running_it_twice() -> None:
    ledger = Ledger()
    job = ledger.started()
    fail(ledger, job)
    ledger.control("retry", job, attempt=1)
    ledger.control("retry", job, attempt=1)
    ledger.claim(job, 2, claim_id="c2")
    fail(ledger, job, attempt=2)
    ledger.control("retry", job, attempt=1)
    assert ledger.statuses(job)[3:] == [QUEUED, "control-refused", FAILED, "control-refused"]
    assert "attempt 2 was its last, not 1" in str(ledger.of(job)[-1].reason)
