"""Bulk requests: how they are cut, and what their answers mean."""

from typing import Any

import pytest

from pipeline.index.bulk import REASON_LIMIT, Verdict, answer_of, chunks, reason_of
from pipeline.index.documents import Action


def item(status: int, kind: str = "some_exception", reason: str = "because") -> dict[str, Any]:
    error = {} if status < 300 else {"error": {"type": kind, "reason": reason}}
    return {"index": {"status": status, **error}}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (item(200), Verdict.DONE),
        (item(201), Verdict.DONE),
        (item(409, "version_conflict_engine_exception"), Verdict.DONE),
        (item(400, "document_parsing_exception"), Verdict.REFUSED),
        (item(400, "illegal_argument_exception", "immense term"), Verdict.REFUSED),
        (item(413), Verdict.REFUSED),
        (item(400, "validation_exception", "this action would add [2] shards"), Verdict.LATER),
        (item(400, "illegal_argument_exception", "1: this action would add [2] shards"), Verdict.LATER),
        (item(403, "cluster_block_exception"), Verdict.LATER),
        (item(429, "es_rejected_execution_exception"), Verdict.LATER),
        (item(503, "unavailable_shards_exception"), Verdict.LATER),
        ({"create": {}}, Verdict.LATER),
    ],
)
def test_only_the_documents_own_fault_is_final(answer: dict[str, Any], verdict: Verdict) -> None:
    assert answer_of(answer).verdict is verdict


def test_a_reason_names_its_causes_and_is_bounded() -> None:
    error = {"type": "a", "reason": "b", "caused_by": {"type": "c", "reason": "d"}}
    assert reason_of(error) == "a: b <- c: d"
    assert len(reason_of({"type": "a", "reason": "x" * 9999})) == REASON_LIMIT


def test_requests_are_cut_by_size_and_leave_nothing_out() -> None:
    actions = [Action("i", str(number), b"x" * size) for number, size in enumerate((100, 100, 5000, 100, 100))]
    assert list(chunks(actions, 1000)) == [(0, 2), (2, 3), (3, 5)]
    assert list(chunks([], 1000)) == []
    assert list(chunks(actions)) == [(0, 5)]
