"""What `replay verify` calls equal, what a divergence, and what it doesn't judge."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from ops.replaying.rows import DiskRows
from ops.replaying.store import disk_store
from pipeline.ledger.case import Case
from pipeline.ledger.state import Family
from pipeline.messages.fact import Fact
from pipeline.replay import comparison as kinds
from pipeline.replay.comparison import Comparison
from pipeline.replay.fold import Fold
from pipeline.replay.history import History
from pipeline.statuses import Status

HISTORY = Path(__file__).parents[1] / "histories" / "worker-lost.json"
NOWHERE = {"JOBSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1", "JOBSTREAM_CONFIG": "/nonexistent.toml"}


def fact(seq: int = 1, offset: int = 10, job: str = "f-1", **fields: object) -> Fact:
    family = job.partition("-")[0]
    first = (job, family, "s", "h", seq, "job-queued", 1, 1000, '{"status": "job-queued"}', 0, offset, 0, "1.0")
    return replace(Fact(*first), **fields)


def compared(recorded: Iterable[Fact], made: Iterable[Fact], decided: int = 1000, **options: int) -> Comparison:
    comparison = Comparison(**options)
    for one in recorded:
        comparison.recorded(one)
    for one in made:
        comparison.made(one)
    comparison.end(decided)
    return comparison


def verify(file: Path):
    return CliRunner().invoke(app, ["replay", "verify", "--file", str(file)], env=NOWHERE)


def test_facts_are_equal_whichever_version_of_the_code_made_them() -> None:
    result = compared([fact(1), fact(2, 11)], [fact(1, code_version="2"), fact(2, 11)])
    assert (result.equal, result.divergences) == (2, {})


@pytest.mark.parametrize(
    "change",
    [{"status": "job-failed"}, {"time": 1001}, {"index": 1}, {"reason": "x"}, {"document": "{}"}, {"inbox_offset": 11}],
)
def test_any_other_field_that_differs_is_a_divergence_that_names_it(change: dict) -> None:
    result = compared([fact()], [fact(**change)])
    (divergence,) = result.divergences.values()
    assert divergence.kind == kinds.DIFFERS
    assert [one.path.partition(".")[0] for one in divergence.changes] == list(change)


def test_what_was_made_and_what_was_read_are_compared_by_what_they_say() -> None:
    result = compared([fact()], [fact(status=Status.QUEUED, reason="x")])
    assert [one.path for divergence in result.divergences.values() for one in divergence.changes] == ["reason"]


def test_a_fact_without_a_partner_is_a_divergence_once_both_streams_are_past_it() -> None:
    result = compared([fact(1), fact(2, 11)], [fact(1), fact(1, 12, "g-1")])
    assert {job: one.kind for job, one in result.divergences.items()} == {
        "f-1": kinds.UNEXPECTED,
        "g-1": kinds.MISSING,
    }


def test_only_the_first_divergence_of_a_job_counts() -> None:
    wrong = [fact(seq, 10 + seq, status="job-failed") for seq in (1, 2, 3)]
    result = compared(wrong, [fact(seq, 10 + seq) for seq in (1, 2, 3)])
    assert [(one.job_id, one.seq) for one in result.divergences.values()] == [("f-1", 1)]
    late = compared([fact(3, 13)], [fact(1, 11), fact(2, 12), fact(3, 13)])
    assert [one.seq for one in late.divergences.values()] == [1]


def test_repeats_of_an_old_owner_are_counted_and_must_be_alike() -> None:
    result = compared([fact(), fact(code_version="0.9"), fact(2, 11)], [fact(), fact(2, 11)])
    assert (result.equal, result.repeated, result.divergences) == (2, 1, {})
    result = compared([fact(), fact(reason="another")], [fact()])
    assert [one.kind for one in result.divergences.values()] == [kinds.CONTRADICTS]
    after = Comparison()
    after.recorded(fact())
    after.made(fact())
    after.recorded(fact())
    assert after.repeated == 1
    after.recorded(fact(reason="another"))
    assert [one.kind for one in after.divergences.values()] == [kinds.CONTRADICTS]


def test_a_family_with_a_past_before_the_inbox_begins_is_not_judged() -> None:
    result = compared([fact(1, 4), fact(2, 11), fact(1, 12, "g-1")], [fact(1, 11), fact(1, 12, "g-1")], begins=5)
    assert (result.equal, result.divergences) == (1, {})
    assert result.unjudged == {kinds.BEFORE: 1, kinds.PAST: 2, kinds.AFTER: 0}


def test_what_is_not_decided_yet_and_what_the_events_have_lost_is_not_judged() -> None:
    result = compared([], [fact(1, 10)], decided=10)
    assert (result.unjudged[kinds.AFTER], result.divergences) == (1, {})
    result = compared([fact(2, 20)], [fact(1, 10), fact(2, 20)], lost_before=20)
    assert (result.equal, result.unjudged[kinds.LOST], result.divergences) == (1, 1, {})


def test_facts_from_before_what_is_asked_for_are_passed_over() -> None:
    result = compared([fact(1, 4), fact(2, 11)], [fact(1, 4, status="x"), fact(2, 11)], first=5)
    assert (result.equal, result.divergences) == (1, {})


def test_a_history_is_verified_and_one_that_says_otherwise_ends_with_exit_code_1(tmp_path: Path) -> None:
    good = verify(HISTORY)
    assert good.exit_code == exits.OK
    assert "0                 0" in good.stdout.splitlines()[-1]
    history = History.load(HISTORY.read_bytes())
    file = tmp_path / "h.json"
    lost = history.facts[2]
    facts = (*history.facts[:2], replace(lost, attempt=7), *history.facts[3:])
    file.write_bytes(replace(history, facts=facts).dump())
    bad = verify(file)
    assert bad.exit_code == exits.FAILED
    assert "fact 3" in bad.stdout
    assert "attempt: 7 → 1" in bad.stdout


def test_a_code_that_decides_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Case.wait

    def hasty(case: Case, job_id: str, job: object) -> None:
        wait(case, job_id, job)  # type: ignore[arg-type]
        case.refuse(job_id, "report-refused", "because")

    monkeypatch.setattr(Case, "wait", hasty)
    assert verify(HISTORY).exit_code == exits.FAILED


def test_a_history_whose_beginning_is_lost_is_not_called_equal(tmp_path: Path) -> None:
    history = History.load(HISTORY.read_bytes())
    begins = history.facts[1].inbox_offset
    cut = replace(history, begins=begins, records=tuple(one for one in history.records if one.offset >= begins))
    file = tmp_path / "h.json"
    file.write_bytes(cut.dump())
    result = verify(file)
    assert result.exit_code == exits.OK
    assert kinds.PAST in result.stdout
    assert f"the inbox began at offset {begins}" in result.stderr


def test_rows_on_disk_keep_what_rows_in_memory_keep() -> None:
    history = History.load(HISTORY.read_bytes())
    with disk_store() as store:
        rows = DiskRows(store)
        on_disk, in_memory = Fold(history.partition, rows), Fold(history.partition)
        for record in history.records:
            assert on_disk.apply(record) == in_memory.apply(record)
        family = history.job_id.partition("-")[0]
        assert rows.family(family) is not None
        rows.keep_family(Family(family))
        assert rows.family(family) is None
        rows.keep_document(history.job_id, None)
        assert rows.document(history.job_id) is None
        rows.add("x")
        assert ("x" in rows, "y" in rows) == (True, False)
