"""What is too much or too deep for the ledger, and how it says so (design §4)."""

from pathlib import Path

import orjson
import pytest

from agents.gate.record import Incoming
from agents.gate.reports import Reports
from pipeline.identity import family_of_job, token
from pipeline.ledger.policy import Policy
from pipeline.messages.inbox import Claim, Report
from pipeline.messages.report import WorkerReport
from tests.unit.ledger_support import Ledger
from tests.unit.partition_support import CODEC, HOLDER, TOPOLOGY, Owner


def test_a_retry_is_refused_while_the_family_has_as_many_unfinished_jobs_as_it_may() -> None:
    ledger = Ledger(Policy(max_unfinished=1))
    first = ledger.submit()
    ledger.claim(first)
    ledger.report("failed", first)
    other = ledger.submit(submission="s2")
    ledger.control("retry", first, force=True)
    assert ledger.statuses(first)[-1] == "control-refused"
    assert "MAX_UNFINISHED" in str(ledger.of(first)[-1].reason)
    ledger.control("revoke", other)
    ledger.control("retry", first, force=True)
    assert ledger.statuses(first)[-1] == "job-queued"


def _nested(depth: int, field: str = "job_info") -> str:
    return f'{{"{field}": ' + '{"a": ' * depth + "1" + "}" * (depth + 1)


@pytest.mark.parametrize(
    "result", [_nested(300), _nested(900, "error"), _nested(900, "category"), _nested(5000), "[1]", "x"]
)
@pytest.mark.parametrize("kind", ["completed", "failed"])
def test_a_final_report_ends_its_attempt_whatever_its_result_is_like_and_says_what_was_wrong(
    kind: str, result: str, tmp_path: Path
) -> None:
    owner = Owner(tmp_path)
    job = owner.submit("h")
    family = family_of_job(job)
    owner.send(family, Claim(job, 1, "q", HOLDER, "c"))
    owner.send(family, Report(kind, job, 1, HOLDER, result))
    assert TOPOLOGY.dead.name not in owner.publisher.records
    fact = owner.facts()[-1]
    assert fact.status == f"job-{kind}"
    assert str(fact.error).startswith("the worker's result can't be read: ")
    assert orjson.loads(fact.document)["category"] == "unreadable"
    assert owner.partition.clock.unfinished == 0


@pytest.mark.parametrize("result", [_nested(5000), "[1]", "x"])
def test_the_gate_lets_a_final_report_through_whatever_its_result_is_like(result: str) -> None:
    job = "f-1"
    partition = TOPOLOGY.job_partition(job)
    shown = token(b"key", job, 1, HOLDER)
    topics = {}
    for kind in ("completed", "failed", "release"):
        value = CODEC.encode("report", WorkerReport(kind, HOLDER, job, 1, shown, result).record())
        record = Incoming(TOPOLOGY.reports.name, partition, 7, 1, b"", value)
        topics[kind] = Reports(TOPOLOGY, CODEC, b"key").decide(record).topic
    assert topics == {"completed": TOPOLOGY.inbox, "failed": TOPOLOGY.inbox, "release": TOPOLOGY.dead}


@pytest.mark.parametrize("kind", ["started", "publish", "release"])
def test_an_unreadable_result_keeps_no_other_report_from_counting(kind: str, tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    job = owner.submit("h")
    family = family_of_job(job)
    owner.send(family, Claim(job, 1, "q", HOLDER, "c"))
    owner.send(family, Report("started", job, 1, HOLDER, "{}"))
    owner.send(family, Report(kind, job, 1, HOLDER, _nested(900, "reason")))
    assert TOPOLOGY.dead.name not in owner.publisher.records
