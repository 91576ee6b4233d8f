"""What the ledger forgets, when, and that what is read again afterwards stays forgotten (decision 007)."""

from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from agents.bus import DeliveryError
from agents.changelog_reader import Change
from agents.orchestrator.row import DELETIONS_KEY, DELETIONS_LIMIT, deletions_in, deletions_value, includes
from agents.orchestrator.sweep import A_TICK, LOOKED_AT, STEP, Sweep
from pipeline.identity import family_of_hash, family_of_job, job_id, life_of
from pipeline.ledger.decision import At
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import MAX_STUBS, Family, Stub
from pipeline.messages.inbox import Claim, Control, Due, NewJob, PolicySet, Report, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.statuses import Status
from pipeline.topic import RECORD_LIMIT, Topic
from pipeline.topology import TABLES
from tests.unit.ledger_support import HOLDER, Ledger
from tests.unit.partition_support import START, Owner, changelog, tables

HOUR = 3_600_000
POLICY = Policy(window_ms=80 * HOUR, document_ms=20 * HOUR)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(POLICY)


def _failed(ledger: Ledger, **submission: str) -> str:
    job = ledger.submit(**submission)
    ledger.claim(job)
    ledger.report("failed", job)
    return job


# the decision


def test_nothing_is_forgotten_before_its_time(ledger: Ledger) -> None:
    job = _failed(ledger)
    ledger.now += POLICY.document_ms - 100
    ledger.due("forget", job)
    assert job in ledger.documents
    assert job in ledger.families[family_of_job(job)].done


def test_a_documents_time_is_over_before_its_stubs_and_the_job_can_be_retried_until_then(ledger: Ledger) -> None:
    job = _failed(ledger)
    ledger.now += POLICY.document_ms
    ledger.due("forget", job)
    assert job not in ledger.documents
    assert job in ledger.families[family_of_job(job)].done
    ledger.control("retry", job)
    assert "kept no document" in str(ledger.of(job)[-1].reason)


def test_after_the_window_nothing_is_left_of_a_family_whose_jobs_have_ended(ledger: Ledger) -> None:
    job = _failed(ledger)
    ledger.now += POLICY.window_ms
    ledger.due("forget", family_of_job(job))
    assert ledger.families[family_of_job(job)].is_empty
    assert ledger.documents == {}


def test_an_unfinished_job_is_never_forgotten_nor_its_document(ledger: Ledger) -> None:
    job = ledger.started()
    ledger.now += 10 * POLICY.window_ms
    ledger.due("forget", job)
    assert job in ledger.documents
    assert job in ledger.families[family_of_job(job)].jobs


def test_a_document_that_no_job_has_goes_at_once(ledger: Ledger) -> None:
    job = ledger.submit()
    ledger.documents["f-nobody"] = ledger.documents[job]
    ledger.due("forget", "f-nobody")
    assert list(ledger.documents) == [job]


def test_a_stub_that_makes_room_takes_its_document_along(ledger: Ledger) -> None:
    jobs = [_failed(ledger, submission=f"s{n}") for n in range(MAX_STUBS + 3)]
    assert list(ledger.families[family_of_job(jobs[0])].done) == jobs[3:]
    assert list(ledger.documents) == jobs[3:]


# the shell


@pytest.fixture(params=["memory", "rocksdb"])
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> Owner:
    made = Owner(tmp_path, request.param)
    made.send("", PolicySet("inbox", POLICY.json()))
    return made


def _ticks(owner: Owner, hours: int) -> None:
    for _ in range(hours):
        owner.tick(HOUR)


def test_what_ended_is_gone_some_time_after_its_windows_and_what_has_not_stays(owner: Owner) -> None:
    jobs = [owner.submit(f"h{n}") for n in range(5)]
    for job in jobs[1:]:
        owner.finish(job)
    _ticks(owner, 18)
    assert [len(rows) for rows in owner.rows()] == [5, 5]
    _ticks(owner, 24)
    assert [len(rows) for rows in owner.rows()] == [5, 1]
    _ticks(owner, 60)
    assert owner.rows() == ([family_of_job(jobs[0])], [jobs[0]])


def test_a_payload_that_was_forgotten_runs_again_as_if_new(owner: Owner) -> None:
    job = owner.submit("h")
    owner.finish(job)
    _ticks(owner, 100)
    assert owner.rows() == ([], [])
    again = owner.submit("h", "s2")
    assert [fact.status for fact in owner.facts() if fact.job_id == again] == ["job-queued"]


def test_what_is_read_again_after_it_was_forgotten_stays_forgotten(owner: Owner) -> None:
    job = owner.submit("h")
    owner.finish(job)
    _ticks(owner, 100)
    said = len(owner.facts())
    owner.recover()
    owner.apply(owner.log)
    assert owner.rows() == ([], [])
    assert len(owner.facts()) == said


def test_the_tombstones_of_what_was_forgotten_say_which_message_they_include(owner: Owner) -> None:
    job = owner.submit("h")
    owner.finish(job)
    _ticks(owner, 100)
    for table, key in (("families", family_of_job(job)), ("documents", job)):
        log = owner.publisher.records[f"jobstream-orchestrator-{table}-changelog"]
        _, value, headers = [record for record in log if record[0] == key.encode()][-1]
        assert value is None
        assert int(dict(headers)["offset"]) > 3


def test_a_message_for_a_job_that_is_unknown_leaves_no_row(owner: Owner) -> None:
    owner.send("f", Claim("f-nobody", 1, "q", HOLDER, "c"))
    owner.send("f", Report("completed", "f-nobody", 1, HOLDER))
    assert owner.rows() == ([], [])


@pytest.mark.parametrize("together", [True, False])
def test_an_empty_family_remembers_nothing_however_the_log_falls_into_batches(owner: Owner, together: bool) -> None:
    """A request about a job that nobody knows yet, then its submission: whoever applied both at once remembered it."""
    job = job_id(family_of_hash("h"), "s1", "h", "c", "q")
    family = family_of_job(job)
    early = Control("revoke", job)
    record = owner.append(family, early, source=Source("control", 0, 5, "topic"))
    if not together:
        owner.apply([record])
    new = NewJob(job, "q", "c", 0, Needs(), "{}")
    submitted = owner.append(family, Submitted("s1", "h", True, (new,)), source=Source("submit", 0, 1, "topic"))
    owner.apply([record, submitted] if together else [submitted])
    owner.send(family, early, source=Source("control", 0, 5, "topic"))
    assert [fact.status for fact in owner.facts()] == ["job-queued", "job-revoked"]


def test_a_job_decides_equally_again_where_its_document_was_dropped_in_the_same_batch(owner: Owner) -> None:
    job = owner.submit("h")
    family = family_of_job(job)
    owner.send(family, Claim(job, 1, "q", HOLDER, "c"))
    batch = [
        owner.append(family, Report("failed", job, 1, HOLDER)),
        owner.append(family, Due("forget", job, 1, 0), HOUR),
    ]
    batch.append(owner.append(family, Due("forget", job, 1, 0), POLICY.document_ms))

    checks = iter((True, False))

    def crash() -> None:
        if not next(checks):
            raise KeyboardInterrupt

    # between the publishing and the writing of the family
    owner.partition._check = crash
    with pytest.raises(KeyboardInterrupt):
        owner.apply(batch)
    said = owner.facts()[-1]
    owner.recover()
    owner.apply(batch)
    assert owner.facts()[-1] == said
    assert owner.rows() == ([family], [])


def test_a_document_whose_family_was_never_written_is_found_and_goes(owner: Owner) -> None:
    job = owner.submit("h")
    document = owner.tables.document(0, job)
    owner.tables.document_row(0, "0-orphan", document, 1).write()
    _ticks(owner, 3)
    assert owner.rows()[1] == [job]


def _stubs(owner: Owner, count: int) -> None:
    for number in range(count):
        stub = Stub("s", Status.COMPLETED, 3, 1, START)
        owner.tables.family_row(0, Family(f"{number:020x}", 1, done={f"{number:020x}-1": stub})).write()


def _found(sweep: Sweep, offset: int, now: int) -> list[list[Due]]:
    """Return the messages that a tick makes, step by step, each of which comes back."""
    steps = [sweep.tick(At(0, offset, now), POLICY)]
    while steps[-1]:
        (*others, last) = steps[-1]
        assert [found for due in others for found in sweep.came_back(due, now, POLICY)] == []
        steps.append(sweep.came_back(last, now, POLICY))
    return steps[:-1]


def test_a_tick_looks_at_a_bounded_number_of_rows_and_little_of_what_it_finds_is_under_way_at_a_time(
    owner: Owner,
) -> None:
    _stubs(owner, 2 * A_TICK)
    every = {f"{number:020x}" for number in range(2 * A_TICK)}
    sweep = Sweep(0, owner.tables)
    late = START + 2 * POLICY.window_ms
    looked = []
    inner = owner.tables.family
    owner.tables.family = lambda *names: looked.append(names) or inner(*names)  # type: ignore[method-assign]
    for number in range(40):
        before = len(looked)
        assert _found(sweep, number, START) == []
        assert len(looked) - before <= LOOKED_AT
    assert {name for _, name in looked} == every
    ticks = [_found(sweep, number, late) for number in range(100, 140)]
    assert {due.job_id for steps in ticks for step in steps for due in step} == every
    assert {len(step) for steps in ticks for step in steps} == {STEP}
    assert max(sum(map(len, steps)) for steps in ticks) == A_TICK


def test_what_is_under_way_when_the_next_tick_comes_makes_no_second_chain(owner: Owner) -> None:
    _stubs(owner, 8 * STEP)
    sweep = Sweep(0, owner.tables)
    late = START + 2 * POLICY.window_ms
    sweep.tick(At(0, 0, late), POLICY)
    lost = [due for step in (1, 2, 3) for due in sweep.tick(At(0, step, late), POLICY)]
    (*first, last) = lost[-STEP:]
    assert [sweep.came_back(due, late, POLICY) for due in [*lost[:-STEP], *first]] == [[]] * (3 * STEP - 1)
    assert len(sweep.came_back(last, late, POLICY)) == STEP


def test_of_messages_of_another_owner_or_for_something_else_nothing_follows(owner: Owner) -> None:
    _stubs(owner, 4 * STEP)
    sweep = Sweep(0, owner.tables)
    late = START + 2 * POLICY.window_ms
    sweep.tick(At(0, 7, late), POLICY)
    strange = [Due("forget", "f", 0, 6), Due("lease", "f-1", 1, 7)] * STEP
    assert [found for due in strange for found in sweep.came_back(due, late, POLICY)] == []


def test_all_that_is_over_goes_within_a_tick_or_two_however_small_the_steps(owner: Owner) -> None:
    jobs = [owner.submit(f"h{number}") for number in range(3 * STEP)]
    for job in jobs:
        owner.finish(job)
    owner.tick(2 * POLICY.window_ms)
    owner.tick(10)
    assert owner.rows() == ([], [])


def test_a_partition_at_rest_needs_no_ticks_until_something_can_be_forgotten(owner: Owner) -> None:
    job = owner.submit("h")
    owner.finish(job)
    assert owner.partition.needs_ticks(owner.now)
    _ticks(owner, 2)
    assert not owner.partition.needs_ticks(owner.now)
    assert not owner.partition.needs_ticks(START + POLICY.document_ms - 100)
    assert owner.partition.needs_ticks(START + POLICY.document_ms + 100)


# a crash between a family's row and what is deleted with it


def _die_at(owner: Owner, table: str, deletes: bool, after: int = 0) -> None:
    """Have the owner end where it deletes rows of this table, or writes some, once `after` of them were delivered."""
    topic = f"jobstream-orchestrator-{table}-changelog"
    met = count()

    def refuse(to: Topic, value: bytes | None) -> int | None:
        refused = to.name == topic and (value is None) is deletes and next(met) >= after
        return KafkaError._MSG_TIMED_OUT if refused else None

    owner.publisher.refuses = refuse


def _next_life(owner: Owner, folder: Path, store: str | None) -> None:
    """Begin another life: over the tables as they are, or with a fresh store that has read the changelogs."""
    owner.publisher.refuses = lambda to, value: None
    if store is not None:
        owner.tables = tables(folder / "fresh", store)
        _read_on(owner)
    owner.recover()


def _read_on(owner: Owner) -> None:
    """Have the tables take over what lies behind their persisted offsets."""
    for name in TABLES:
        table = getattr(owner.tables, f"_{name}")
        have = table.data.persisted_offset(changelog(name))
        log = list(enumerate(owner.publisher.records.get(changelog(name).topic, [])))[0 if have is None else have + 1 :]
        if log:
            table.take_over(changelog(name), [Change(offset, *record) for offset, record in log])


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("expires", ["document", "family"])
def test_who_reads_again_what_deleted_a_document_deletes_it_though_the_family_has_its_row_already(
    tmp_path: Path, owner: Owner, request: pytest.FixtureRequest, expires: str, fresh: bool
) -> None:
    store = request.node.callspec.params["owner"]
    job = owner.submit("h")
    owner.finish(job, "failed", error="e")
    family = family_of_job(job)
    if expires == "document":
        due = owner.append(family, Due("forget", job, 0, 0), POLICY.document_ms)
    else:
        due = owner.append(family, Due("forget", family, 0, 0), POLICY.window_ms)
    _die_at(owner, "documents", deletes=True)
    with pytest.raises(DeliveryError):
        owner.apply([due])
    _next_life(owner, tmp_path, store if fresh else None)
    # its own disk lacks the document before the changelog does
    assert owner.rows()[1] == ([job] if fresh else [])
    # in one batch: what follows must be decided without the document, as it was in the log
    said = len(owner.facts())
    owner.apply([due, owner.append(family, Control("retry", job, "me", "", "{}"))])
    assert owner.rows() == ([family] if expires == "document" else [], [])
    assert [fact.status for fact in owner.facts()[said:]] == ["control-refused"] * (expires == "document")
    _next_life(owner, tmp_path / "again", store)
    assert owner.rows()[1] == []


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_whoever_finishes_deletions_of_which_some_were_delivered_the_first_owners_disk_has_them_too(
    tmp_path: Path, delivered: int
) -> None:
    owner = Owner(tmp_path / "first", "rocksdb")
    owner.send("", PolicySet("inbox", POLICY.json()))
    jobs = [owner.submit(f"h{n}") for n in range(3)]
    for job in jobs:
        owner.finish(job, "failed", error="e")
    dues = [owner.append(family_of_job(job), Due("forget", job, 0, 0), POLICY.document_ms) for job in jobs]
    _die_at(owner, "documents", deletes=True, after=delivered)
    with pytest.raises(DeliveryError):
        owner.apply(dues)
    first = owner.tables
    _next_life(owner, tmp_path / "second", "rocksdb")
    assert len(owner.rows()[1]) == len(jobs) - delivered
    owner.apply(dues)
    assert owner.rows()[1] == []
    owner.tables = first
    _read_on(owner)
    owner.recover()
    assert owner.rows()[1] == []
    said = len(owner.facts())
    for job in jobs:
        owner.send(family_of_job(job), Control("retry", job, "me", "", "{}"))
    assert [fact.status for fact in owner.facts()[said:]] == ["control-refused"] * len(jobs)


def test_a_document_that_was_made_anew_since_is_not_deleted_by_what_is_read_again(tmp_path: Path, owner: Owner) -> None:
    job = owner.submit("h")
    owner.finish(job)
    due = owner.append(family_of_job(job), Due("forget", family_of_job(job), 0, 0), POLICY.window_ms)
    owner.apply([due])
    assert owner.rows() == ([], [])
    assert owner.submit("h") == job
    owner.recover()
    said = len(owner.publisher.records[changelog("documents").topic])
    owner.apply(owner.log[due.offset :])
    assert owner.rows() == ([family_of_job(job)], [job])
    # nor does anybody read of that in the changelog
    assert len(owner.publisher.records[changelog("documents").topic]) == said


def test_a_shorter_batch_that_is_read_again_takes_nothing_from_what_was_said_of_a_longer_one(
    tmp_path: Path, owner: Owner
) -> None:
    jobs = [owner.submit(f"h{n}") for n in range(3)]
    for job in jobs:
        owner.finish(job)
    records = [owner.append(family_of_job(job), Due("forget", job, 0, 0), POLICY.document_ms) for job in jobs]
    _die_at(owner, "documents", deletes=True)
    with pytest.raises(DeliveryError):
        owner.apply(records)
    for record in records:
        _next_life(owner, tmp_path, None)
        owner.apply([record])
    assert owner.rows()[1] == []
    # of what compaction leaves, too
    said = [includes(value, headers) for key, value, headers in owner.publisher.records[changelog("families").topic]
            if key == DELETIONS_KEY]  # fmt: skip
    assert said == sorted(said)


def _deletions(messages: int, each: int) -> dict[int, list[str]]:
    """Return what messages to as many families delete, with ids as they are in earnest."""
    deleted = {}
    for n in range(messages):
        family = family_of_hash(f"h{n}")
        deleted[(1 << 40) + n] = [
            job_id(family, f"s{m}", f"h{n}", "c", "q", life_of("jobs.submit", 0, n * each + m, START + m))
            for m in range(each)
        ]
    return deleted


def test_what_the_deletions_of_two_large_batches_say_fits_a_record_with_all_of_it() -> None:
    deleted = _deletions(2 * 100, MAX_STUBS + 1)
    value, left_out = deletions_value(deleted, 1 << 40)
    assert left_out == 0
    assert len(value) <= DELETIONS_LIMIT
    assert deletions_in(value) == deleted


def test_of_more_deletions_than_fit_a_record_the_latest_are_said(owner: Owner) -> None:
    deleted = _deletions(100, 1500)
    newest = max(deleted)
    with capture_logs() as logs:
        row = owner.tables.deletions_row(0, deleted, newest)
    assert row.value is not None
    assert DELETIONS_LIMIT // 2 < len(row.value) <= DELETIONS_LIMIT < RECORD_LIMIT - 1024
    every = [(message, job) for message, job_ids in deleted.items() for job in job_ids]
    said = [(message, job) for message, job_ids in deletions_in(row.value).items() for job in job_ids]
    assert said == every[-len(said) :]
    assert [one["documents"] for one in logs] == [len(every) - len(said)]
