"""What a rebuild writes is what the orchestrator wrote, row for row; and what facts say of jobs that it can't know."""

import random
from pathlib import Path

import pytest

from agents.orchestrator.row import POLICY_KEY, takes_over
from ops.ledger.folding import TableFold
from ops.ledger.past import Last, is_as_recorded
from ops.ledger.rows import ACTIVE, DOCUMENTS, FAMILIES, LedgerRows
from ops.replaying.store import DiskStore
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Stub
from pipeline.messages.inbox import Control, PolicySet
from pipeline.replay.recorded import Recorded
from pipeline.settings import Settings
from pipeline.statuses import Status
from pipeline.topology import TABLES
from tests.unit.partition_support import CODEC, TOPOLOGY, Owner

WINDOW = 60_000


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = DiskStore(tmp_path / "rows")
    yield made
    made.close()


def _lived(folder: Path, seed: int) -> Owner:
    """An owner whose families come, end, are tried again and are forgotten, over several lives."""
    owner, chance = Owner(folder), random.Random(seed)
    policy = Policy(window_ms=WINDOW, document_ms=WINDOW // 2)
    owner.send("", PolicySet("inbox", policy.json()))
    for number in range(60):
        job = owner.submit(f"h{chance.randrange(25)}", f"s{number}", chance.choice([10, 4000]))
        if chance.random() < 0.7:
            owner.finish(job, chance.choice(["completed", "failed"]))
        if chance.random() < 0.2:
            owner.send(job.partition("-")[0], Control("retry", job, "test"))
        if chance.random() < 0.2:
            owner.send(job.partition("-")[0], Control("revoke", job, "test"))
        if chance.random() < 0.3:
            owner.tick(chance.choice([500, WINDOW]))
        if chance.random() < 0.05:
            owner.recover()
    return owner


def _merged(owner: Owner, rows: LedgerRows) -> LedgerRows:
    for table, topic in zip(TABLES, TOPOLOGY.changelogs(), strict=True):
        for key, value, headers in owner.publisher.records.get(topic.name, []):
            if takes_over(rows.get(table, key), value, headers):
                rows.put(table, key, value)
    return rows


def _folded(owner: Owner, rows: LedgerRows) -> LedgerRows:
    fold = TableFold(Settings(), 0, rows)
    for one in owner.log:
        fold.apply(Recorded.read(CODEC, one.offset, one.timestamp, one.key, one.value))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_the_fold_of_the_inbox_gives_the_rows_that_the_orchestrator_wrote(
    tmp_path: Path, store: DiskStore, seed: int
) -> None:
    owner = _lived(tmp_path / "owner", seed)
    written, folded = _merged(owner, LedgerRows(store, "written")), _folded(owner, LedgerRows(store, "folded"))
    for table in (FAMILIES, DOCUMENTS):
        assert dict(folded.rows(table)) == dict(written.rows(table))
    assert folded.policy == written.policy
    assert folded.policy is not None
    # what came for a family that was gone already in the same batch counts too for the orchestrator
    assert 0 < folded.forgotten <= written.forgotten
    unfinished = {key for key, value in folded.rows(FAMILIES) if Family.load(value[8:]).jobs}
    assert {key for key, _ in folded.rows(ACTIVE)} == unfinished
    assert unfinished <= {key for key, _ in written.rows(ACTIVE)}
    assert unfinished
    assert len(dict(folded.rows(FAMILIES))) < 25


def test_spaces_of_one_store_do_not_meet(store: DiskStore) -> None:
    one, ten = LedgerRows(store, "fold/1"), LedgerRows(store, "fold/10")
    one.put(FAMILIES, b"a", b"1")
    ten.put(FAMILIES, b"b", b"2")
    one.put(FAMILIES, POLICY_KEY, b"3")
    assert (dict(one.rows(FAMILIES)), dict(ten.rows(FAMILIES)), one.policy) == ({b"a": b"1"}, {b"b": b"2"}, b"3")
    assert [key for key, _ in one.rows_from(FAMILIES, b"a")] == [b"a"]


RUNS, ENDED = Job("s", "q", 0, 1, 1, seq=2), Stub("s", Status.COMPLETED, 3, 1, 50)


@pytest.mark.parametrize(
    ("family", "jobs", "known"),
    [
        (None, {}, True),
        (None, {"f-1": Last(3, Status.COMPLETED, 9)}, True),
        (None, {"f-1": Last(3, Status.COMPLETED, 10)}, False),
        (None, {"f-1": Last(2, Status.STARTED, 1)}, False),
        (None, {"f-1": Last(2, Status.OFFLINE, 1)}, False),
        (Family("f", jobs={"f-1": RUNS}), {"f-1": Last(2, Status.STARTED, 1)}, True),
        (Family("f", jobs={"f-1": RUNS}), {"f-1": Last(3, Status.STARTED, 1)}, False),
        (Family("f", jobs={"f-2": RUNS}), {"f-1": Last(3, Status.COMPLETED, 1)}, False),
        (Family("f", done={"f-1": ENDED}), {"f-1": Last(3, Status.COMPLETED, 50)}, True),
        (Family("f", done={"f-1": ENDED}), {"f-1": Last(3, Status.COMPLETED, 50), "f-2": Last(1, "q", 1)}, False),
    ],
    ids=[
        "nothing",
        "what is forgotten by now",
        "what ended not long ago is missing",
        "what runs is missing",
        "what is lost and goes on is missing",
        "what runs is there",
        "at another fact",
        "a job that the facts have otherwise",
        "what ended is there",
        "one of two is missing",
    ],
)
def test_a_fold_is_believed_of_a_past_that_it_cannot_know_only_if_the_facts_agree(
    family: Family | None, jobs: dict[str, Last], known: bool
) -> None:
    assert is_as_recorded(family, jobs, forgotten_before=10) is known
