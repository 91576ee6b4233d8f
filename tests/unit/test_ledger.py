"""What the ledger decides: dedup, claims and leases, reports, time, control (design §4)."""

import json

import pytest

from pipeline.identity import family_of_hash, family_of_job, job_id, task_id
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import MAX_STUBS, Family
from pipeline.messages.inbox import NewJob, OutputRefused, Rejected, Source, Submitted
from pipeline.messages.needs import Needs
from tests.unit.ledger_support import HOLDER, OTHER, QUEUE, Ledger

QUEUED, STARTED, COMPLETED, FAILED = "job-queued", "job-started", "job-completed", "job-failed"
DEDUPED, REVOKED, OFFLINE = "job-deduped", "job-revoked", "job-offline"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


# submissions


def test_a_submission_waits_on_its_queue_with_a_fact_that_carries_the_whole_document(ledger: Ledger) -> None:
    job = ledger.submit(priority=4)
    assert ledger.statuses(job) == [QUEUED]
    assert ledger.waiting[f"{job}/1"].priority == 4
    document = ledger.document_of(job)
    assert document["payload_id"] == "s1"
    assert document["uuid"] == document["job"]["task_id"] == task_id(job, 1)
    assert document["job"]["params"] == {"hash": "h"}
    assert document["job"]["job_info"]["index"] == "job_status-2025.11.24"


@pytest.mark.parametrize("until", [QUEUED, STARTED, COMPLETED])
def test_a_queued_started_or_completed_job_makes_another_submission_a_duplicate(ledger: Ledger, until: str) -> None:
    original = ledger.submit()
    if until != QUEUED:
        ledger.claim(original)
        ledger.report("started", original)
    if until == COMPLETED:
        ledger.report("completed", original)
    copy = ledger.submit(submission="s2")
    assert ledger.statuses(copy) == [DEDUPED]
    assert ledger.document_of(copy)["dedup_job"] == original
    assert f"{copy}/1" not in ledger.waiting


@pytest.mark.parametrize("end", [FAILED, REVOKED, OFFLINE])
def test_a_failed_revoked_or_lost_job_blocks_nobody(end: str) -> None:
    ledger = Ledger(Policy(max_attempts=1))
    original = ledger.started()
    if end == FAILED:
        ledger.report("failed", original, error="x")
    elif end == REVOKED:
        ledger.control("revoke", original)
    else:
        ledger.due("lease", original)
    assert end in ledger.statuses(original)
    assert ledger.statuses(ledger.submit(submission="s2")) == [QUEUED]


def test_a_job_with_a_retry_pending_counts_as_queued(ledger: Ledger) -> None:
    original = ledger.started()
    ledger.due("lease", original)
    assert ledger.statuses(original)[-1] == OFFLINE
    assert ledger.statuses(ledger.submit(submission="s2")) == [DEDUPED]


def test_a_submission_without_dedup_runs_beside_its_twin(ledger: Ledger) -> None:
    ledger.submit()
    assert ledger.statuses(ledger.submit(submission="s2", dedup=False)) == [QUEUED]


def test_the_same_submission_again_is_a_redelivery_and_changes_nothing(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.submit()
    assert ledger.statuses(job) == [QUEUED]


def test_the_same_submission_by_another_record_is_the_job_that_it_was_until_that_is_forgotten(ledger: Ledger) -> None:
    family = family_of_hash("h")

    def send(life: str) -> str:
        job = job_id(family, "s", "h", "c", QUEUE, life)
        new = NewJob(job, QUEUE, "c", 0, Needs(), "{}")
        ledger.send(family, Submitted("s", "h", False, (new,)))
        return job

    first, again = send("aaaaaa"), send("bbbbbb")
    assert (ledger.statuses(first), ledger.statuses(again)) == ([QUEUED], [])
    ledger.claim(first)
    ledger.report("completed", first)
    assert ledger.statuses(send("cccccc")) == []
    ledger.now += ledger.policy.window_ms + 1000
    second = send("dddddd")
    assert (ledger.statuses(second), [fact.seq for fact in ledger.of(second)]) == ([QUEUED], [1])
    ledger.send(family, Rejected(job_id(family, "s", "h", "c", QUEUE, "eeeeee"), "s", "h", "bad", "{}"))
    assert len(ledger.of(second)) == 1


def test_a_source_record_that_comes_twice_is_applied_once(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.report("failed", job, source=Source("reports", 1, 7))
    ledger.send(family_of_job(job), _retry(job), Source("control", 0, 3))
    ledger.send(family_of_job(job), _retry(job), Source("control", 0, 3))
    assert ledger.statuses(job) == [QUEUED, STARTED, FAILED, QUEUED]


def _retry(job: str):  # type: ignore[no-untyped-def]
    from pipeline.messages.inbox import Control

    return Control("retry", job)


def test_siblings_of_one_submission_never_block_each_other(ledger: Ledger) -> None:
    family = family_of_hash("h")
    jobs = tuple(NewJob(job_id(family, "s", "h", creator, QUEUE), QUEUE, creator, 0, Needs(), "{}") for creator in "ab")
    ledger.send(family, Submitted("s", "h", True, jobs))
    assert [ledger.statuses(job.job_id) for job in jobs] == [[QUEUED], [QUEUED]]


def test_a_sibling_that_a_redelivery_adds_is_not_blocked_by_the_first(ledger: Ledger) -> None:
    family = family_of_hash("h")
    first, second = (
        NewJob(job_id(family, "s", "h", creator, QUEUE), QUEUE, creator, 0, Needs(), "{}") for creator in "ab"
    )
    ledger.send(family, Submitted("s", "h", True, (first,)))
    ledger.send(family, Submitted("s", "h", True, (first, second)))
    assert ledger.statuses(first.job_id) == ledger.statuses(second.job_id) == [QUEUED]


def test_a_rejected_submission_is_a_failed_job_that_says_why(ledger: Ledger) -> None:
    ledger.reject("f-1", "payload is missing")
    assert ledger.statuses("f-1") == [FAILED]
    assert ledger.of("f-1")[0].error == "payload is missing"


def test_a_family_takes_no_more_unfinished_jobs_than_its_limit() -> None:
    ledger = Ledger(Policy(max_unfinished=2))
    jobs = [ledger.submit(submission=f"s{n}", dedup=False) for n in range(3)]
    assert [ledger.statuses(job) for job in jobs] == [[QUEUED], [QUEUED], [FAILED]]
    assert "MAX_UNFINISHED" in str(ledger.of(jobs[2])[0].error)


def test_a_family_remembers_what_blocks_longest_and_is_bounded(ledger: Ledger) -> None:
    original = ledger.started()
    ledger.report("completed", original)
    for number in range(MAX_STUBS + 20):
        ledger.submit(submission=f"copy{number}")
    family = ledger.families[family_of_job(original)]
    assert len(family.done) == MAX_STUBS
    assert original in family.done


def test_stubs_older_than_the_window_are_forgotten_with_their_documents() -> None:
    ledger = Ledger(Policy(window_ms=1000))
    original = ledger.started()
    ledger.report("completed", original)
    ledger.now += 2000
    assert ledger.statuses(ledger.submit(submission="s2")) == [QUEUED]
    assert original not in ledger.documents


# claims and reports


def test_a_claim_of_a_waiting_attempt_is_granted_with_the_run_document(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.claim(job)
    (grant,) = ledger.commands
    assert (grant.kind, grant.holder, grant.attempt, grant.lease_ms) == ("grant", HOLDER, 1, 60_000)
    assert json.loads(grant.document)["task_id"] == task_id(job, 1)
    assert ledger.answers[f"{job}/1"] == {"result": "granted", "holder": HOLDER, "claim_id": "c1"}


def test_a_second_claim_is_refused_and_the_same_claim_again_gets_the_same_answer(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.claim(job)
    ledger.claim(job, holder=OTHER, claim_id="c2")
    assert ledger.answers[f"{job}/1"] == {"result": "refused", "holder": OTHER, "claim_id": "c2"}
    ledger.claim(job)
    assert ledger.answers[f"{job}/1"]["result"] == "granted"
    assert [command.holder for command in ledger.commands] == [HOLDER, HOLDER]


def test_a_claim_of_an_unknown_job_is_answered_too(ledger: Ledger) -> None:
    ledger.claim("f-nobody")
    assert ledger.answers["f-nobody/1"]["result"] == "refused"


def test_a_claim_of_an_attempt_that_is_over_is_refused_and_the_current_one_still_waits(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.claim(job)
    ledger.report("release", job)
    ledger.claim(job, 1, OTHER, "late")
    assert ledger.answers[f"{job}/1"] == {"result": "refused", "holder": OTHER, "claim_id": "late"}
    assert f"{job}/2" in ledger.waiting


def test_a_large_document_travels_by_reference(ledger: Ledger) -> None:
    job = ledger.submit(body={"type": "t", "params": {"x": "y" * 9000}})
    ledger.claim(job)
    (grant,) = ledger.commands
    assert grant.document is None
    assert (grant.reference.partition, grant.reference.offset) == (0, 1)


def test_only_the_first_start_and_the_first_end_of_an_attempt_count(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.report("started", job)
    ledger.report("completed", job, job_info={"status": 0})
    ledger.report("completed", job, job_info={"status": 0})
    assert ledger.statuses(job) == [QUEUED, STARTED, COMPLETED]


@pytest.mark.parametrize("kind", ["started", "completed", "failed", "publish"])
def test_a_report_by_anybody_but_the_holder_is_refused_and_its_sender_stopped(ledger: Ledger, kind: str) -> None:
    job = ledger.started()
    ledger.report(kind, job, holder=OTHER)
    assert ledger.statuses(job) == [QUEUED, STARTED, "report-refused"]
    assert json.loads(ledger.of(job)[-1].document)["status"] == STARTED
    assert ledger.stops() == [(job, 1, OTHER)]


def test_a_late_report_of_an_attempt_that_was_given_away_changes_nothing(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.due("lease", job)
    ledger.due("retry", job, 2)
    ledger.claim(job, 2, OTHER, "c2")
    ledger.report("completed", job, 1)
    assert ledger.statuses(job)[-1] == "report-refused"
    ledger.report("started", job, 2, OTHER)
    ledger.report("completed", job, 2, OTHER)
    assert ledger.statuses(job).count(COMPLETED) == 1


def test_a_late_report_of_an_old_attempt_is_refused_from_the_holder_of_the_new_one_too(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.claim(job)
    ledger.report("release", job)
    ledger.claim(job, 2)
    ledger.report("completed", job, 1)
    assert ledger.statuses(job)[-1] == "report-refused"


def test_the_result_of_a_worker_stands_in_the_document_under_its_own_names(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.report(
        "failed", job, error="boom", short_error="boom", job_info={"status": 3, "metrics": {"job_dir_size": 9}}
    )
    document = ledger.document_of(job)
    assert document["error"] == "boom"
    assert document["job"]["job_info"]["status"] == 3
    assert document["job"]["job_info"]["job_dir"] == "/w"
    assert document["celery_hostname"] == "w1"


def test_a_result_that_is_no_json_ends_the_job_all_the_same(ledger: Ledger) -> None:
    from pipeline.messages.inbox import Report

    job = ledger.started()
    ledger.send(family_of_job(job), Report("completed", job, 1, HOLDER, "nonsense"))
    assert ledger.statuses(job)[-1] == COMPLETED


# attempts


def test_a_released_attempt_waits_as_the_next_one_and_its_worker_is_avoided(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.claim(job)
    ledger.report("release", job, reason="no free slot")
    assert ledger.waiting[f"{job}/2"].needs.avoid == ("w1",)
    assert ledger.statuses(job) == [QUEUED, QUEUED]


def test_releases_before_the_start_are_free_until_there_are_too_many() -> None:
    ledger = Ledger(Policy(free_releases=2, max_attempts=2))
    job = ledger.submit()
    attempt = 1
    while FAILED not in ledger.statuses(job) and attempt < 20:
        ledger.claim(job, attempt)
        ledger.report("release", job, attempt)
        attempt += 1
        ledger.due("retry", job, attempt)
    # two free ones, one counted retry, and the one that was too many
    assert attempt == 5


def test_a_lost_lease_after_the_start_is_retried_after_a_back_off(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.due("lease", job)
    assert ledger.statuses(job) == [QUEUED, STARTED, OFFLINE]
    assert ledger.stops() == [(job, 1, HOLDER)]
    state = ledger.families[family_of_job(job)].jobs[job]
    assert (state.attempt, state.due - ledger.now) == (2, 1000)
    ledger.due("retry", job, 2)
    assert ledger.waiting[f"{job}/2"].needs.avoid == ("w1",)


def test_a_lost_lease_before_the_start_costs_no_retry(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.claim(job)
    ledger.due("lease", job)
    assert ledger.statuses(job) == [QUEUED, OFFLINE, QUEUED]
    assert f"{job}/2" in ledger.waiting


def test_a_job_out_of_attempts_fails_and_says_so() -> None:
    ledger = Ledger(Policy(max_attempts=2))
    job = ledger.started()
    ledger.due("lease", job)
    ledger.due("retry", job, 2)
    ledger.claim(job, 2)
    ledger.report("started", job, 2)
    ledger.due("lease", job, 2)
    assert ledger.statuses(job)[-2:] == [OFFLINE, FAILED]
    assert "gave up after 2 attempts" in str(ledger.of(job)[-1].error)


@pytest.mark.parametrize("kind", ["lease", "retry", "limit", "republish"])
def test_a_timer_of_another_attempt_or_phase_means_nothing(ledger: Ledger, kind: str) -> None:
    job = ledger.started()
    ledger.due(kind, job, 2)
    ledger.due(kind, "f-nobody")
    if kind in ("retry", "republish"):
        ledger.due(kind, job, 1)
    assert ledger.statuses(job) == [QUEUED, STARTED]


def test_a_job_past_its_hard_limit_is_ended_by_the_ledger_where_its_worker_does_not(ledger: Ledger) -> None:
    job = ledger.started(time_limit=10)
    ledger.due("limit", job)
    assert ledger.statuses(job)[-1] == FAILED
    assert ledger.stops() == [(job, 1, HOLDER)]


# control


def test_a_waiting_job_that_is_revoked_leaves_its_queue(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.control("revoke", job)
    assert ledger.statuses(job) == [QUEUED, REVOKED]
    assert ledger.answers[f"{job}/1"]["result"] == "withdrawn"


def test_a_running_job_that_is_revoked_is_stopped_and_its_completion_refused(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.control("revoke", job)
    ledger.report("completed", job)
    assert ledger.statuses(job) == [QUEUED, STARTED, REVOKED, "report-refused"]
    assert ledger.stops()[0] == (job, 1, HOLDER)


def test_a_revoke_after_the_permission_to_publish_loses_to_it(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.report("publish", job)
    ledger.report("publish", job)
    assert [command.kind for command in ledger.commands] == ["grant", "permit", "permit"]
    ledger.control("revoke", job)
    ledger.report("completed", job)
    assert ledger.statuses(job) == [QUEUED, STARTED, "control-refused", COMPLETED]


def test_a_retry_of_a_failed_job_runs_it_as_the_next_attempt(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.report("failed", job)
    ledger.control("retry", job)
    assert f"{job}/2" in ledger.waiting
    assert ledger.statuses(job)[-1] == QUEUED


def test_a_retry_is_refused_while_the_family_has_a_blocking_job_unless_forced(ledger: Ledger) -> None:
    first = ledger.started()
    ledger.report("failed", first)
    ledger.submit(submission="s2")
    ledger.control("retry", first)
    assert ledger.statuses(first)[-1] == "control-refused"
    ledger.control("retry", first, force=True)
    assert ledger.statuses(first)[-1] == QUEUED


def test_a_new_priority_goes_to_the_queue(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.control("reprioritise", job, priority=9)
    assert ledger.waiting[f"{job}/1"].priority == 9
    ledger.control("reprioritise", job, priority="high")
    assert ledger.statuses(job)[-1] == "control-refused"


def test_a_job_that_nobody_can_take_fails_when_the_scheduler_says_so(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.control("expire", job, attempt=2)
    assert ledger.statuses(job) == [QUEUED]
    ledger.control("expire", job, attempt=1)
    assert ledger.statuses(job) == [QUEUED, FAILED]
    assert ledger.answers[f"{job}/1"]["result"] == "withdrawn"


def test_an_output_that_the_broker_refuses_fails_its_job(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.send(family_of_job(job), OutputRefused(job, "jobs.run.q", "unknown topic"))
    assert ledger.statuses(job) == [QUEUED, FAILED]


def test_a_job_without_its_document_can_still_end(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.documents.clear()
    ledger.report("completed", job)
    assert ledger.statuses(job)[-1] == COMPLETED


def test_a_family_that_is_no_family_is_an_error() -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Family.load(b'{"id": "x", "jobs": {"a": 1}, "done": {}}')
