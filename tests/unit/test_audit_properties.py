"""Whatever comes to the inbox, in whatever order: what the ledger makes of it holds before the audit."""

import json
import random
from collections import deque

import pytest

from pipeline.audit.finding import Check
from pipeline.identity import family_of_hash, job_id
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Stub
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import (
    Body,
    Claim,
    Control,
    Due,
    Inbox,
    NewJob,
    OutputRefused,
    PolicySet,
    Rejected,
    Report,
    Source,
    Submitted,
)
from pipeline.messages.needs import Needs
from pipeline.replay.comparison import Comparison
from pipeline.replay.fold import Fold
from pipeline.replay.recorded import Recorded
from tests.unit.test_audit import judged

HASHES, HOLDERS = ("h1", "h2", "h3"), ("w1:1:a", "w1:2:b", "w2:1:c")
KINDS = ("started", "completed", "failed", "release", "publish", "odd")
ACTIONS = ("revoke", "retry", "reprioritise", "republish", "expire", "odd")
DUES = ("lease", "retry", "limit", "republish", "forget")
LIMITS = {"max_attempts": 2, "free_releases": 1, "max_unfinished": 3}
POLICY = Policy(
    window_ms=20_000, document_ms=2000, retry_backoff_ms=10, retries={"command-failed": {"attempts": 3}}, **LIMITS
)
RETRIED = '{"category": "command-failed"}'


def job_of(hash_: str, submission: str) -> str:
    return job_id(family_of_hash(hash_), submission, hash_, "c", "q")


def submitted(dice: random.Random, hash_: str) -> Body:
    submission = f"s{dice.randrange(6)}"
    job = job_of(hash_, submission)
    if dice.random() < 0.1:
        return Rejected(job, submission, hash_, "bad", "{}")
    body = json.dumps({"type": "t", "job_info": {"id": job}})
    new = NewJob(job, "q", "c", 0, Needs(), body, dice.choice((None, 1)))
    return Submitted(submission, hash_, dice.random() < 0.7, (new,))


def body(dice: random.Random, hash_: str, fold: Fold) -> Body:
    """Return a message of the family: mostly about what there is, sometimes about what there isn't."""
    family = fold.rows.family(family_of_hash(hash_))
    known = [] if family is None else [*family.jobs, *family.done]
    if not known or dice.random() < 0.25:
        return submitted(dice, hash_)
    job = dice.choice(known)
    state = family.jobs.get(job) if family is not None else None
    attempt = state.attempt if state is not None and dice.random() < 0.85 else dice.randrange(1, 4)
    holder = state.holder if state is not None and state.holder and dice.random() < 0.85 else dice.choice(HOLDERS)
    arguments = dice.choice(("{}", '{"force": true}', '{"priority": 5}'))
    return dice.choice(
        (
            Claim(job, attempt, "q", holder, f"c{dice.randrange(3)}"),
            Claim(job, attempt, "q", holder, f"c{dice.randrange(3)}"),
            Report("started", job, attempt, holder, '{"job_info": {"pid": 1}}'),
            Report(dice.choice(KINDS), job, attempt, holder, dice.choice(("{}", '{"error": "x"}', "rubbish"))),
            Report("failed", job, attempt, holder, RETRIED),
            Control(dice.choice(ACTIONS), job, "me", "", arguments),
            Due(dice.choice(DUES), job, attempt, 0),
            Due("retry", job, attempt, 0),
            OutputRefused(job, "t", "too large"),
        )
    )


def played(seed: int) -> tuple[list[Recorded], list[Fact]]:
    """Return a random inbox, and its facts with repeats of owners that died on the way."""
    dice, fold, now = random.Random(seed), Fold(0), 1_764_000_000_000
    records, facts = [Recorded(0, now, b"", Inbox("", PolicySet("id", POLICY.json())))], []
    fold.apply(records[0])
    sent: list[Inbox] = []
    newest: dict[str, int] = {}
    for offset in range(1, 120):
        now += dice.choice((1, 10, 100, 5000)) if dice.random() < 0.5 else 1
        hash_ = dice.choice(HASHES)
        source = Source("reports", 0, offset) if dice.random() < 0.5 else None
        message = Inbox(family_of_hash(hash_), body(dice, hash_, fold), source)
        if sent and dice.random() < 0.05:
            message = dice.choice(sent)
        sent.append(message)
        records.append(Recorded(offset, now, b"", message))
        facts += fold.apply(records[-1]).facts
        newest |= {fact.job_id: fact.seq for fact in facts}
        if facts and dice.random() < 0.1:
            # what an owner repeats is of its last batch, and not of a job that was forgotten and begun anew since
            last = [one for one in facts[-dice.randrange(1, 6) :] if one.inbox_offset > offset - 5]
            facts += [one for one in last if one.seq <= newest[one.job_id]]
    return records, facts


@pytest.mark.parametrize("seed", range(20))
def test_what_the_ledger_makes_of_any_inbox_holds_and_is_made_again(seed: int) -> None:
    records, facts = played(seed)
    findings = judged(records, facts)
    assert findings.violations == []
    fold, comparison = Fold(0), Comparison()
    left = deque(facts)
    for record in records:
        # as `verify` reads: the facts up to where the inbox was read
        while left and left[0].inbox_offset <= record.offset:
            comparison.recorded(left.popleft())
        for made in fold.apply(record).facts:
            comparison.made(made)
    comparison.end(len(records))
    assert comparison.divergences == {}
    assert comparison.equal + comparison.repeated == len(facts)
    begins = len(records) // 2
    left_over = [fact for fact in facts if fact.inbox_offset >= begins]
    assert judged(records, facts, begins=begins, window=POLICY.window_ms).violations == []
    assert judged(records, left_over, begins=begins, window=POLICY.window_ms, all_facts=False).violations == []


@pytest.mark.parametrize(
    ("kind", "name", "broken", "found"),
    [
        (Family, "blocking", lambda family, submission: None, Check.DEDUP_ADMITS),
        (Stub, "blocks", property(lambda stub: True), Check.DEDUP_BLOCKS),
        (Stub, "blocks", property(lambda stub: False), Check.DEDUP_ADMITS),
    ],
    ids=["nothing blocks", "failed ones block", "completed ones don't"],
)
def test_a_ledger_that_breaks_a_rule_is_found_by_what_it_makes(
    kind: type, name: str, broken: object, found: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, name, broken)
    violated = {check for seed in range(20) for check in judged(*played(seed)).violated}
    assert violated == {found}
