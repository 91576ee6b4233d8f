"""What a fact becomes in the index."""

import json
from typing import Any

import orjson
import pytest

from pipeline.index.documents import plan
from pipeline.messages.fact import Fact

JOB = {"type": "job-x", "job_info": {"index": "job_status-2026.11.23", "job_queue": "q"}}


def fact(document: Any = None, **changes: Any) -> Fact:
    body = {"status": "job-completed", "type": "job-x", "job": JOB} if document is None else document
    values = {
        "job_id": "fam-1",
        "family": "fam",
        "submission_id": "s",
        "payload_hash": "h",
        "seq": 4,
        "status": "job-completed",
        "attempt": 2,
        "time": 1_795_478_399_999,
        "document": body if isinstance(body, str) else json.dumps(body),
        "inbox_partition": 3,
        "inbox_offset": 77,
        "index": 0,
        "code_version": "1",
    }
    return Fact(**(values | changes))


def with_products(*products: Any) -> dict[str, Any]:
    return {"job": JOB, "products": list(products)}


def test_a_jobs_document_goes_to_its_day_of_submission_versioned_by_seq_and_word_for_word() -> None:
    one = fact()
    action = plan(one, "p-").actions[0]
    target = {"_index": "p-job_status-2026.11.23", "_id": "fam-1", "version": 4, "version_type": "external_gte"}
    assert orjson.loads(action.lines()[0]) == {"index": target}
    assert action.lines()[1] == one.document.encode()


def test_a_fact_is_created_in_the_index_of_its_own_day_with_where_it_came_from() -> None:
    action = plan(fact(time=1_795_478_400_000)).actions[1]
    assert orjson.loads(action.lines()[0]) == {"create": {"_index": "job_events-2026.11.24", "_id": "fam-1-4"}}
    event = orjson.loads(action.body)
    assert (event["@timestamp"], event["inbox_offset"], event["job_queue"]) == ("2026-11-24T00:00:00.000Z", 77, "q")
    assert "document" not in event
    assert "error" not in event


def test_a_document_with_line_breaks_stays_one_line_of_the_request() -> None:
    text = json.dumps({"job": JOB}, indent=1)
    body = plan(fact(text)).actions[0].body
    assert b"\n" not in body
    assert orjson.loads(body) == json.loads(text)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"document": "{"}, "no JSON"),
        ({"document": "[]"}, "names no index"),
        ({"document": {"job": {"job_info": {"index": "secrets"}}}}, "names no index"),
        ({"document": {"job": {"job_info": {"index": "job_status-2026.11.23\n"}}}}, "names no index"),
        ({"job_id": ""}, "job id"),
        ({"job_id": "x" * 500}, "job id"),
        ({"seq": -1}, "seq"),
        ({"time": 10**18}, "time"),
    ],
)
def test_what_has_no_place_in_the_index_is_refused_as_a_whole(changes: dict[str, Any], reason: str) -> None:
    made = plan(fact(**changes))
    assert made.actions == ()
    assert reason in made.refused[0]


def test_a_completed_jobs_datasets_have_documents_of_their_own() -> None:
    product = {"id": "P", "dataset": "S L1", "system_version": "V2.0", "metadata": {"a": 1}}
    action = plan(fact(with_products(product)), "p-").actions[2]
    assert (action.index, action.id, action.version) == ("p-grq_v2.0_s-l1", "P", 1_795_478_399_999_004)
    assert orjson.loads(action.body) == {
        **product,
        "@timestamp": "2026-11-23T23:59:59.999Z",
        "job_id": "fam-1",
        "attempt": 2,
    }


def test_a_product_may_choose_its_indexs_suffix_but_no_index_of_another_kind() -> None:
    product = {"id": "P", "index": {"suffix": "../Job_Status-*"}}
    assert plan(fact(with_products(product))).actions[2].index == "grq_..-job_status--"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["tiles", "grq_v2.0_s-l1", "tiles"], ("p-grq-tiles", "p-grq-v2.0_s-l1")),
        (["Job_Status", "../x", ""], ("p-grq-job_status", "p-grq-..-x")),
        ([f"a{number}" for number in range(30)], tuple(f"p-grq-a{number}" for number in range(20))),
        (["x" * 300], (("p-grq-" + "x" * 300)[:255],)),
        ([1, None, {}], ()),
        ("tiles", ()),
        (None, ()),
    ],
)
def test_aliases_of_a_products_own_are_names_that_no_index_has(asked: Any, given: tuple[str, ...]) -> None:
    product = {"id": "P", "dataset": "S", "system_version": "V", "index": {"aliases": asked}}
    assert plan(fact(with_products(product)), "p-").actions[2].aliases == given


@pytest.mark.parametrize("status", ["job-started", "job-failed"])
def test_only_a_completion_publishes(status: str) -> None:
    product = {"id": "P", "dataset": "S", "system_version": "V"}
    assert len(plan(fact(with_products(product), status=status)).actions) == 2


def test_what_is_kept_of_a_failed_job_is_a_dataset_too() -> None:
    kept = {"id": "triaged_job-fam-1_task-0a", "dataset": "triaged_job", "system_version": "v1"}
    document = with_products({"id": "P", "dataset": "S", "system_version": "V"}) | {"triaged": [kept]}
    assert [action.id for action in plan(fact(document, status="job-failed")).actions[2:]] == [kept["id"]]
    assert [action.id for action in plan(fact(document)).actions[2:]] == ["P"]
    assert len(plan(fact(with_products() | {"triaged": 5}, status="job-failed")).actions) == 2


@pytest.mark.parametrize(
    "product",
    [None, "P", {}, {"id": 1}, {"id": "x" * 513, "dataset": "S", "system_version": "V"}, {"id": "P", "dataset": "S"}],
)
def test_a_product_that_cannot_be_indexed_holds_up_neither_job_nor_other_products(product: Any) -> None:
    good = {"id": "G", "dataset": "S", "system_version": "V"}
    made = plan(fact(with_products(product, good)))
    assert [action.id for action in made.actions] == ["fam-1", "fam-1-4", "G"]
    assert len(made.refused) == 1


@pytest.mark.parametrize("status", ["report-refused", "control-refused"])
def test_a_refusal_is_indexed_as_a_fact_and_leaves_the_jobs_document_alone(status: str) -> None:
    planned = plan(fact({"job_id": "fam-1", "status": "job-completed", "seq": 4}, status=status, reason="late"))
    (action,) = planned.actions
    assert planned.refused == ()
    assert orjson.loads(action.lines()[0]) == {"create": {"_index": "job_events-2026.11.23", "_id": "fam-1-4"}}
    assert orjson.loads(action.body)["reason"] == "late"
