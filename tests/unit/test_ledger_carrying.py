"""A family that is carried into the next generation of the inbox is the same there, however large it is."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from agents.worker.documents import UnreadableDocumentError, document_in
from pipeline.codec import Codec
from pipeline.identity import family_of_job
from pipeline.ledger import carrying
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Phase, Stub
from pipeline.messages.command import GRANT, Command, Reference
from pipeline.messages.inbox import Carried, Claim, Inbox, Source
from pipeline.statuses import Status
from tests.unit.partition_support import Owner

CODEC = Codec()
DOCUMENT = Document(
    "f-1", "s", "h", True, 1_764_000_000_123, "q", 3, {}, {"type": "t", "job_info": {"id": "f-1"}}, 1, 77
)


def _family(jobs: int) -> Family:
    waiting = {f"f-{n}": Job("s", "q", 0, 1, 2, run={"job_dir": "x" * 100}, avoid=("w",)) for n in range(jobs)}
    leased = replace(waiting["f-0"], status=Status.STARTED, phase=Phase.LEASED, holder="w:1:a", seq=4, attempt=2)
    done = {"f-d": Stub("s", Status.COMPLETED, 3, 1, 9, "w:1:a"), "f-e": Stub("s", Status.FAILED, 3, 1, 9)}
    return Family("f", 500, "hash", {"c0/abcdefgh": 7, "s3": 2}, {**waiting, "f-0": leased}, done)


def _carried(family: Family) -> tuple[Family, int]:
    """Return what the next generation makes of a family, and by how many messages."""
    now, count = Family(family.id), 0
    for count, part in enumerate(carrying.parts(family), 1):
        message = Inbox.of(CODEC.decode("inbox", CODEC.encode("inbox", Inbox(family.id, part).record())))
        decision = decide(now, message, At(0, count, 1), Policy(), lambda _: None)
        assert not (decision.facts or decision.dispatches or decision.commands)
        now = decision.family
    return now, count


def test_a_family_is_the_same_but_for_the_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, messages in ((carrying.PART, 1), (1000, 8), (1, 22)):
        monkeypatch.setattr(carrying, "PART", limit)
        family = _family(20)
        now, count = _carried(family)
        assert now == replace(family, offset=count)
        assert [*now.jobs, *now.done] == [*family.jobs, *family.done]
        assert count >= messages


def test_a_source_that_was_applied_before_the_move_is_a_repeat_after_it() -> None:
    now, _ = _carried(_family(1))
    assert now.has_applied(Source("control", 0, 7, "abcdefghijkl"))
    assert not now.has_applied(Source("control", 0, 8, "abcdefghijkl"))


def test_a_carried_document_is_found_where_it_is_now_and_a_worker_runs_it_from_there() -> None:
    message = Inbox("f", Carried(document=DOCUMENT.dump().decode()))
    decision = decide(Family("f"), message, At(5, 9, 1), Policy(), lambda _: None)
    document = decision.documents["f-1"]
    assert document == replace(DOCUMENT, partition=5, offset=9)
    grant = Command(GRANT, "w:1:a", "f-1", 2, document=None, reference=Reference(5, 9))
    run = document_in(message, grant)
    job = replace(_family(1).jobs["f-0"], attempt=2)
    assert orjson.loads(DOCUMENT.run_document(job)).keys() <= run.keys()
    assert run["job_info"]["time_queued"] == "2025-11-24T16:00:00.123000Z"
    assert (run["attempt"], run["submission_id"], run["family"]) == (2, "s", family_of_job("f-1"))
    with pytest.raises(UnreadableDocumentError, match="has no job f-2"):
        document_in(message, replace(grant, job_id="f-2"))
    with pytest.raises(UnreadableDocumentError, match="holds no document"):
        document_in(Inbox("f", Carried(state="{}")), grant)


def test_a_job_goes_on_in_the_new_inbox_where_it_was_in_the_old_one(tmp_path: Path) -> None:
    old, new = Owner(tmp_path / "old"), Owner(tmp_path / "new")
    job = old.submit("h")
    family = family_of_job(job)
    document = old.tables.document(0, job)
    assert document is not None
    new.send(family, Carried(document=document.dump().decode()))
    for part in carrying.parts(old.tables.family(0, family)):
        new.send(family, part)
    assert new.facts() == []
    new.recover()
    assert new.partition.clock.unfinished == 1
    new.send(family, Claim(job, 1, "q", "w1:1000:aa", "c"))
    new.finish(job)
    assert [(fact.seq, fact.status) for fact in new.facts()] == [(2, "job-completed")]
    assert new.submit("h", "again") != job
    assert new.facts()[-1].status == "job-deduped"
