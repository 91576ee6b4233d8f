"""A submission's trace context: what counts as one, and where it goes."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.gate.record import Incoming
from pipeline.containers.process import ProcessEngine
from pipeline.containers.spec import Labels
from pipeline.identity import family_of_hash, job_id
from pipeline.ledger.timers import RETRY
from pipeline.messages.inbox import Claim, Control, Due, NewJob, Rejected, Report, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.messages.trace import Trace
from pipeline.submission.creators import Creators
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.rejection import rejected
from pipeline.submission.request import Submission
from pipeline.work import request
from pipeline.work.command import Command
from pipeline.work.directory import WorkRoot
from pipeline.work.place import Place
from tests.unit.partition_support import CODEC, HOLDER, TOPOLOGY, Owner

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "congo=t61rcWkgMzE,rojo@vendor=00f067aa0ba902b7"
TRACE = Trace(PARENT, STATE)


def sent(*headers: tuple[str, Any], **fields: Any) -> Trace:
    return Trace.sent(headers, fields)


def test_a_context_is_read_from_the_headers_before_the_fields() -> None:
    assert sent(("traceparent", PARENT.encode()), ("tracestate", STATE.encode())) == TRACE
    assert sent(traceparent=PARENT, tracestate=STATE) == TRACE
    other = PARENT.replace("4bf9", "0000")
    assert sent(("traceparent", PARENT.encode()), traceparent=other, tracestate=STATE) == Trace(PARENT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "-more",
        PARENT + "\n",
        "01" + PARENT[2:],
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        PARENT.replace("b", "g"),
        "x" * 100_000,
    ],
)
def test_what_is_no_valid_parent_is_no_context(text: str) -> None:
    assert not sent(("traceparent", text.encode()), ("tracestate", STATE.encode()))
    assert not sent(traceparent=text, tracestate=STATE)


@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}, PARENT.encode()])
def test_a_field_of_another_type_is_no_context(value: Any) -> None:
    assert not sent(traceparent=value, tracestate=STATE)


def test_a_header_that_comes_twice_or_is_no_text_is_no_context() -> None:
    assert not sent(("traceparent", PARENT.encode()), ("traceparent", PARENT.encode()))
    assert not sent(("traceparent", None), traceparent=PARENT)
    assert not sent(("traceparent", b"\xff" * 55))


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1 , b=2", "a=1,b=2"),
        ("a=1,,b=2", "a=1,b=2"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a=1=2", ""),
        ("a=\n", ""),
        ("a=" + "x" * 600, ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("a", ""),
    ],
)
def test_an_invalid_state_is_left_out_and_the_parent_stays(state: str, kept: str) -> None:
    assert sent(traceparent=PARENT, tracestate=state) == Trace(PARENT, kept)


def test_several_state_headers_are_one_list() -> None:
    found = sent(("traceparent", PARENT.encode()), ("tracestate", b"a=1"), ("tracestate", b"b=2"))
    assert found.state == "a=1,b=2"


def origin(trace: Trace) -> Origin:
    return Origin("jobs.submit", Source("submit", 3, 17), 1_700_000_000_000, trace=trace)


def body(trace: Trace) -> dict[str, Any]:
    one = Submission.model_validate({"job_type": "x", "payload": {"trace": "its own"}})
    message = jobs_of(one, Creators().of(one), origin(trace), 300).body
    assert isinstance(message, Submitted)
    made: dict[str, Any] = orjson.loads(message.jobs[0].body)
    return made


def test_each_job_of_a_submission_carries_its_context_and_one_without_carries_none() -> None:
    assert body(TRACE)["trace"] == {"traceparent": PARENT, "tracestate": STATE}
    assert "trace" not in body(Trace())


def test_a_refused_submission_keeps_its_context() -> None:
    message = rejected({"job_type": "x"}, "no payload", origin(TRACE)).body
    assert isinstance(message, Rejected)
    assert Trace.within(orjson.loads(message.body)) == TRACE


def test_a_command_finds_its_context_in_its_environment(tmp_path: Path) -> None:
    def environment(trace: Trace) -> dict[str, str]:
        command = Command(("true",), {"TRACEPARENT": "the job type's", "A": "1"}, None)
        labels = Labels(job="fam-1", attempt=1, holder="w1:1:ab", worker="w1")
        place = Place(engine=ProcessEngine(tmp_path), root=WorkRoot(tmp_path, "w"), worker="w")
        return dict(request.build({**body(trace), "params": {}}, command, place, labels, tmp_path).env)

    assert environment(TRACE) == {"A": "1", "TRACEPARENT": PARENT, "TRACESTATE": STATE}
    assert environment(Trace()) == {"A": "1", "TRACEPARENT": "the job type's"}


class Traced(Owner):
    """An owner whose submissions carry a context."""

    def submit_traced(self, trace: Trace, submission: str = "s1") -> str:
        family = family_of_hash("h")
        job = job_id(family, submission, "h", "c", "q")
        text = orjson.dumps({"type": "t", "job_info": {"id": job}, "trace": trace.record()}).decode()
        self.send(family, Submitted(submission, "h", True, (NewJob(job, "q", "c", 0, Needs(), text),)))
        return job

    def told(self) -> list[tuple[str, str | None, bytes | None]]:
        """Return each fact's status, context, and the header of that name."""
        headers = [dict(headers) for _, _, headers in self.publisher.records[TOPOLOGY.events.name]]
        return [
            (fact.status, fact.traceparent, header.get("traceparent"))
            for fact, header in zip(self.facts(), headers, strict=True)
        ]


def test_every_fact_of_a_job_has_its_submissions_context_also_after_a_retry(tmp_path: Path) -> None:
    owner = Traced(tmp_path)
    job = owner.submit_traced(TRACE)
    family = family_of_hash("h")
    owner.finish(job, "failed", error="no")
    owner.send(family, Control("retry", job))
    owner.send(family, Claim(job, 2, "q", HOLDER, "c2"))
    owner.send(family, Report("completed", job, 2, HOLDER))
    same = (PARENT, PARENT.encode())
    assert {told[1:] for told in owner.told()} == {same}
    assert owner.told()[-1][0] == "job-completed"


def test_a_duplicate_has_its_own_context_and_a_redelivery_changes_none(tmp_path: Path) -> None:
    owner = Traced(tmp_path)
    other = Trace(PARENT.replace("4bf9", "1111"))
    job = owner.submit_traced(TRACE)
    owner.submit_traced(other)
    owner.submit_traced(other, "s2")
    owner.finish(job)
    assert [(status, parent) for status, parent, _ in owner.told()] == [
        ("job-queued", PARENT),
        ("job-deduped", other.parent),
        ("job-completed", PARENT),
    ]


def test_a_refusal_carries_none(tmp_path: Path) -> None:
    owner = Traced(tmp_path)
    job = owner.submit_traced(TRACE)
    owner.send(family_of_hash("h"), Report("completed", job, 7, HOLDER))
    owner.send(family_of_hash("h"), Due(RETRY, job, 1, 0))
    assert owner.told()[1] == ("report-refused", None, None)


def test_a_fact_is_a_cloud_event_that_whoever_writes_it_again_writes_equally(tmp_path: Path) -> None:
    first, second = Traced(tmp_path / "a"), Traced(tmp_path / "b")
    for owner in (first, second):
        owner.submit_traced(TRACE)
    fact = first.facts()[0]
    assert first.publisher.records[TOPOLOGY.events.name] == second.publisher.records[TOPOLOGY.events.name]
    assert dict(first.publisher.records[TOPOLOGY.events.name][0][2]) == {
        "ce_specversion": b"1.0",
        "ce_id": f"{fact.job_id}-1".encode(),
        "ce_source": b"/jobstream/jobs.events",
        "ce_type": b"jobstream.job-queued",
        "ce_time": b"2025-11-24T16:00:00.010Z",
        "ce_subject": fact.job_id.encode(),
        "content-type": b"application/avro",
        "traceparent": PARENT.encode(),
        "tracestate": STATE.encode(),
    }


def test_the_fields_of_a_context_go_through_avro() -> None:
    record = {"job_type": "x", "payload": "{}", "traceparent": PARENT, "tracestate": STATE}
    fields = CODEC.decode("submission", CODEC.encode("submission", record))
    assert Trace.sent(Incoming("t", 0, 0, 0, None, None).headers, fields) == TRACE
