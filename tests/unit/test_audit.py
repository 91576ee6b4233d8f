"""The audit: a log of the ledger's own passes, and each check finds what was put into it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from pipeline.audit import audit as reasons
from pipeline.audit.audit import Audit, Grants
from pipeline.audit.causes import Causes
from pipeline.audit.finding import Check, Findings
from pipeline.audit.store import MemoryStore, Store
from pipeline.audit.taken import Taken
from pipeline.identity import family_of_hash, family_of_job, job_id
from pipeline.ledger.policy import Policy
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Claim, Control, NewJob, PolicySet, Report, Submitted
from pipeline.messages.needs import Needs
from pipeline.replay.recorded import Recorded
from pipeline.statuses import ATTEMPT_FAILED, CONTROL_REFUSED, Status
from tests.unit.partition_support import HOLDER, Owner
from tests.unit.replay_support import eventful, read

OTHER = "w2:1000:bb"
Grant = tuple[str, int, str]


def judged(
    records: Iterable[Recorded],
    facts: Iterable[Fact],
    *,
    begins: int = 0,
    window: int = 8 * 86_400_000,
    all_facts: bool = True,
    decided: int = 1 << 40,
    grants: Iterable[Grant] = (),
    buried: Iterable[int] = (),
    store: Store | None = None,
) -> Findings:
    store, findings = store or MemoryStore(), Findings()
    granted = Grants(store, findings)
    for job, attempt, holder in grants:
        granted.add(0, job, attempt, holder)
    causes = Causes(0, store, begins, window)
    for record in records:
        if record.offset >= begins:
            causes.add(record.offset, record.timestamp, record.message)
    audit = Audit(0, store, causes, granted, findings, all_facts=all_facts)
    for offset in buried:
        audit.buried(offset)
    for fact in facts:
        audit.add(fact)
    audit.end(decided)
    return findings


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


def of(facts: list[Fact], job: str) -> list[Fact]:
    return [fact for fact in facts if fact.job_id == job]


def changed(fact: Fact, **fields: object) -> Fact:
    """Change a fact, and its document alike."""
    document = orjson.loads(fact.document) | {name: fields[name] for name in ("status", "attempt") if name in fields}
    document |= {"holder": fields.pop("holder")} if "holder" in fields else {}
    return replace(fact, document=orjson.dumps(document).decode(), **fields)


def with_one(facts: list[Fact], old: Fact, *new: Fact) -> list[Fact]:
    index = facts.index(old)
    return [*facts[:index], *new, *facts[index + 1 :]]


def completed_job(owner: Owner) -> tuple[str, list[Fact]]:
    job = owner.submit("h")
    owner.send(family_of_job(job), Claim(job, 1, "q", HOLDER, "c"))
    owner.send(family_of_job(job), Report("started", job, 1, HOLDER))
    owner.send(family_of_job(job), Report("completed", job, 1, HOLDER))
    return job, owner.facts()


def test_a_log_of_the_ledgers_own_holds_with_all_its_repeats(tmp_path: Path) -> None:
    owner, jobs = eventful(tmp_path)
    facts = owner.facts()
    # an old owner repeats what it decided, and an updated one too
    repeated = [*facts[:6], *facts[2:6], *(replace(fact, code_version="0.9") for fact in facts[3:6]), *facts[6:]]
    for told in (facts, repeated):
        findings = judged(read(owner), told)
        assert findings.violations == []
        assert (findings.jobs, findings.repeats) == (len(jobs), len(told) - len(facts))
        assert {job.job_id for job in findings.open} == {jobs[0]}
    assert all(findings.judged[check] for check in Check if check is not Check.TAKEN)


def test_an_accepted_submission_without_a_fact_is_found_unless_it_is_not_decided_yet(owner: Owner) -> None:
    job, _ = completed_job(owner)
    findings = judged(read(owner), [])
    assert [(one.check, one.job_id) for one in findings.violations] == [(Check.ENDS, job)]
    assert judged(read(owner), [], decided=0).unjudged == {reasons.UNDECIDED: 1}
    assert judged(read(owner), [], buried=[0]).violations == []


def _by_another_record(owner: Owner, life: str) -> str:
    family = family_of_hash("h")
    job = job_id(family, "s1", "h", "c", "q", life)
    owner.send(family, Submitted("s1", "h", True, (NewJob(job, "q", "c", 0, Needs(), "{}"),)))
    return job


def test_a_submission_that_comes_by_two_records_is_one_job_and_two_are_found(owner: Owner) -> None:
    job, facts = completed_job(owner)
    again = _by_another_record(owner, "bbbbbb")
    assert owner.facts() == facts
    findings = judged(read(owner), facts)
    assert (findings.violations, findings.jobs) == ([], 1)
    assert judged(read(owner), []).violated == {Check.ENDS: 2}
    offset = len(owner.log) - 1
    taken = changed(replace(facts[0], job_id=again, inbox_offset=offset, time=facts[-1].time + 1))
    (found,) = judged(read(owner), [*facts, taken]).violations
    assert (found.check, job in found.detail) == (Check.DEDUP_ADMITS, True)


def test_what_has_not_ended_is_listed(owner: Owner) -> None:
    job, facts = completed_job(owner)
    (found,) = judged(read(owner), facts[:-1]).open
    assert (found.job_id, found.status, found.attempt) == (job, "job-started", 1)
    assert judged(read(owner), facts).open == []


def twice(facts: list[Fact]) -> list[Fact]:
    return [*facts, replace(facts[-1], seq=4)]


def after_the_end(facts: list[Fact]) -> list[Fact]:
    return [*facts, changed(replace(facts[-1], seq=4), status="job-failed")]


def with_a_gap(facts: list[Fact]) -> list[Fact]:
    return [facts[0], *facts[2:]]


def from_two(facts: list[Fact]) -> list[Fact]:
    return [replace(fact, seq=fact.seq + 1) for fact in facts]


def repeated_unlike(facts: list[Fact]) -> list[Fact]:
    return [*facts, replace(facts[1], reason="another")]


def of_nothing(facts: list[Fact]) -> list[Fact]:
    return with_one(facts, facts[1], replace(facts[1], inbox_offset=9999))


def of_an_earlier_one(facts: list[Fact]) -> list[Fact]:
    return with_one(facts, facts[2], replace(facts[2], inbox_offset=0))


def elsewhere(facts: list[Fact]) -> list[Fact]:
    return with_one(facts, facts[1], replace(facts[1], inbox_partition=7))


def by_another(facts: list[Fact]) -> list[Fact]:
    return with_one(facts, facts[2], changed(facts[2], holder=OTHER))


def started_twice(facts: list[Fact]) -> list[Fact]:
    return [*facts[:2], replace(facts[1], seq=3), replace(facts[2], seq=4)]


def next_without_an_end(facts: list[Fact]) -> list[Fact]:
    queued = changed(replace(facts[0], seq=3, inbox_offset=facts[1].inbox_offset), attempt=2)
    return [*facts[:2], queued]


def never_waited(facts: list[Fact]) -> list[Fact]:
    return [facts[0], changed(facts[1], attempt=2), facts[2]]


def waits_again(facts: list[Fact]) -> list[Fact]:
    return [*facts[:2], replace(facts[0], seq=3, inbox_offset=facts[1].inbox_offset)]


def far_ahead(facts: list[Fact]) -> list[Fact]:
    return [facts[0], facts[1], changed(facts[2], attempt=5)]


def refused_and_believed(facts: list[Fact]) -> list[Fact]:
    refusal = replace(
        facts[1], status="report-refused", document=orjson.dumps({"status": "job-queued", "attempt": 1}).decode()
    )
    return [facts[0], refusal, replace(facts[1], seq=3), replace(facts[2], seq=4)]


def refused_with_another_status(facts: list[Fact]) -> list[Fact]:
    body = orjson.dumps({"status": "job-revoked", "attempt": 1}).decode()
    return [facts[0], replace(facts[1], status="report-refused", document=body)]


def refused_with_a_whole_document(facts: list[Fact]) -> list[Fact]:
    return [facts[0], replace(changed(facts[0], seq=2, inbox_offset=facts[1].inbox_offset), status="report-refused")]


SEEDS: list[tuple[Callable[[list[Fact]], list[Fact]], Check]] = [
    (twice, Check.ONE_COMPLETION),
    (after_the_end, Check.ABSORBING),
    (with_a_gap, Check.SEQ),
    (from_two, Check.SEQ),
    (repeated_unlike, Check.EQUAL),
    (of_nothing, Check.CAUSED),
    (of_an_earlier_one, Check.CAUSED),
    (elsewhere, Check.CAUSED),
    (by_another, Check.ONE_LEASE),
    (started_twice, Check.ONE_LEASE),
    (next_without_an_end, Check.ONE_LEASE),
    (never_waited, Check.ONE_LEASE),
    (waits_again, Check.ONE_LEASE),
    (far_ahead, Check.ONE_LEASE),
    (refused_and_believed, Check.REFUSED),
    (refused_with_another_status, Check.REFUSED),
    (refused_with_a_whole_document, Check.REFUSED),
]


@pytest.mark.parametrize(("seed", "check"), SEEDS, ids=lambda one: getattr(one, "__name__", ""))
def test_each_check_finds_what_was_put_into_a_jobs_facts(
    owner: Owner, seed: Callable[[list[Fact]], list[Fact]], check: Check
) -> None:
    job, facts = completed_job(owner)
    assert judged(read(owner), facts).violations == []
    findings = judged(read(owner), seed(facts))
    assert check in findings.violated
    assert {one.job_id for one in findings.violations} == {job}


def attempt_that_failed(owner: Owner) -> str:
    rules = Policy(retries={"command-failed": {"attempts": 3}}, retry_backoff_ms=60_000)
    owner.send("", PolicySet("id", rules.json()))
    job = owner.submit("h")
    owner.finish(job, "failed", category="command-failed")
    return job


def test_a_job_that_waits_for_its_retry_occupies_its_family_and_counts_as_queued(owner: Owner) -> None:
    job = attempt_that_failed(owner)
    owner.submit("h", "s2")
    owner.send(family_of_job(job), Control("retry", job, "me"))
    facts = owner.facts()
    assert [fact.status for fact in facts[1:]] == [ATTEMPT_FAILED, Status.DEDUPED, CONTROL_REFUSED]
    findings = judged(read(owner), facts)
    assert findings.violations == []
    assert [one.job_id for one in findings.open] == [job]
    # a second one that runs all the same is found
    beside = changed(replace(facts[2], status="job-queued"), status="job-queued")
    assert judged(read(owner), [*facts[:2], beside]).violated == {Check.DEDUP_ADMITS: 1}


@pytest.mark.parametrize("status", ["job-completed", "job-started", "attempt-failed", "job-failed"])
def test_an_attempt_of_which_more_comes_after_it_failed_is_found(owner: Owner, status: str) -> None:
    attempt_that_failed(owner)
    facts = owner.facts()
    assert Check.ONE_LEASE in judged(read(owner), [*facts, replace(facts[1], seq=3, status=status)]).violated


def test_an_attempt_that_fails_without_having_waited_is_found(owner: Owner) -> None:
    attempt_that_failed(owner)
    queued, failed = owner.facts()
    (found,) = judged(read(owner), [queued, replace(failed, attempt=2)]).violations
    assert (found.check, "never said to wait" in found.detail) == (Check.ONE_LEASE, True)


def test_a_completion_by_who_was_not_granted_the_attempt_is_found(owner: Owner) -> None:
    job, facts = completed_job(owner)
    assert judged(read(owner), facts, grants=[(job, 1, HOLDER), (job, 1, HOLDER)]).violations == []
    assert Check.ONE_LEASE in judged(read(owner), facts, grants=[(job, 1, OTHER)]).violated
    assert judged(read(owner), facts, grants=[(job, 1, HOLDER), (job, 1, OTHER)]).violated == {Check.ONE_LEASE: 1}


def test_an_explicit_retry_ends_the_end_and_only_a_forced_one_that_of_a_completed_job(owner: Owner) -> None:
    job, _ = completed_job(owner)
    owner.send(family_of_job(job), Control("retry", job, "me", "", '{"force": true}'))
    forced = owner.facts()
    assert judged(read(owner), forced).violations == []
    records = read(owner)
    unforced = replace(records[-1], message=replace(records[-1].message, body=Control("retry", job, "me")))
    assert judged([*records[:-1], unforced], forced).violated == {Check.DEDUP_ADMITS: 1}
    revoke = replace(records[-1], message=replace(records[-1].message, body=Control("revoke", job, "me")))
    assert judged([*records[:-1], revoke], forced).violated == {Check.ABSORBING: 1}


def test_a_job_that_waits_beside_one_of_its_family_is_found(owner: Owner) -> None:
    first = owner.submit("h", "s1")
    second = owner.submit("h", "s2")
    facts = owner.facts()
    assert judged(read(owner), facts).violations == []
    (deduped,) = of(facts, second)
    admitted = changed(deduped, status="job-queued")
    findings = judged(read(owner), with_one(facts, deduped, admitted))
    assert findings.violated == {Check.DEDUP_ADMITS: 1}
    assert first in findings.violations[0].detail


@pytest.mark.parametrize("status", [Status.FAILED, Status.REVOKED])
def test_a_duplicate_of_a_job_that_failed_is_found(owner: Owner, status: Status) -> None:
    first = owner.submit("h", "s1")
    second = owner.submit("h", "s2")
    facts = owner.facts()
    (deduped,) = of(facts, second)
    ended = changed(replace(of(facts, first)[0], seq=2), status=status)
    findings = judged(read(owner), [*facts[:1], ended, deduped])
    assert findings.violated == {Check.DEDUP_BLOCKS: 1}


@pytest.mark.parametrize("original", ["", "unknown-1"])
def test_a_duplicate_of_nothing_is_found(owner: Owner, original: str) -> None:
    owner.submit("h", "s1")
    second = owner.submit("h", "s2")
    facts = owner.facts()
    (deduped,) = of(facts, second)
    body = orjson.dumps(orjson.loads(deduped.document) | {"dedup_job": original}).decode()
    told = with_one(facts, deduped, replace(deduped, document=body))
    assert judged(read(owner), told).violated == {Check.DEDUP_BLOCKS: 1}


def test_what_the_log_has_lost_is_not_judged_and_not_held_against_what_follows(tmp_path: Path) -> None:
    owner, jobs = eventful(tmp_path)
    facts = owner.facts()
    for begins in range(1, len(owner.log), 3):
        left = [fact for fact in facts if fact.inbox_offset >= begins]
        assert judged(read(owner), left, begins=begins, window=60_000, all_facts=False).violations == []
        # jobs.events is kept for longer than the inbox
        assert judged(read(owner), facts, begins=begins, window=60_000).violations == []
    half = of(facts, jobs[0])[2].inbox_offset
    assert judged(read(owner), facts, begins=half).unjudged[reasons.NO_CAUSE] > 0


def test_a_submission_that_nobody_took_is_found(owner: Owner) -> None:
    store = MemoryStore()
    completed_job(owner)
    findings = judged(read(owner), owner.facts(), store=store)
    taken = Taken(store, findings)
    taken.buried(3, 17)
    taken.judge(3, 17)
    assert findings.violations == []
    taken.judge(3, 18)
    assert findings.violated == {Check.TAKEN: 1}
