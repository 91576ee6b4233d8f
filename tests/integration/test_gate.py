"""The gate on a real broker: what comes in goes on, in order, whatever comes in between."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError

from agents import admin
from agents.bus import Delivered, DeliveryError, Publisher
from agents.gate import dead, loop, queues
from agents.gate.gate import Gate
from agents.gate.queues import Queues
from agents.gate.record import Outgoing
from agents.registry import ConfluentRegistry
from pipeline.codec import Codec
from pipeline.identity import asked_of, family_of_hash, job_id, tick_token, token
from pipeline.messages.control import ControlRequest
from pipeline.messages.inbox import Control, Heartbeat, Held, Rejected, Report, Submitted, Tick
from pipeline.messages.report import Shown, WorkerReport
from pipeline.settings import Settings
from tests.integration.gate_support import KEY, START, Site, Tail, settings_for, started
from tests.registry_server import Server
from tests.waiting import until

GOOD = {"job_type": "job:good", "payload": '{"a": 1}', "submission_id": "good"}

NewSite = Callable[..., Site]


@pytest.fixture
def site(kafka: str, tmp_path: Path) -> Iterator[NewSite]:
    """Makes a site; a gate is not yet there."""
    made: list[Site] = []

    def make(**gate: Any) -> Site:
        made.append(Site(settings_for(kafka, tmp_path, **gate)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def opened() -> Iterator[Callable[[Settings], Gate]]:
    """Opens gates in this process, and closes them at the end; none may have died."""
    gates: list[Gate] = []
    died = threading.Event()

    def open_(settings: Settings) -> Gate:
        gates.append(Gate(settings, died.set))
        gates[-1].start()
        return gates[-1]

    yield open_
    for gate in gates:
        gate.stop()
    assert not died.is_set()


def reached(one: Site, submission_id: str) -> bool:
    return any(body.submission_id == submission_id for body in one.bodies(Submitted))


def test_a_trace_context_goes_from_headers_or_fields_into_the_jobs(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    parents = [f"00-{digit * 32}-{digit * 16}-01" for digit in "12"]
    one.submit(GOOD | {"submission_id": "header"}, headers=[("traceparent", parents[0].encode())])
    one.submit(GOOD | {"submission_id": "field", "traceparent": parents[1]})
    one.submit(GOOD | {"submission_id": "none"}, headers=[("traceparent", b"\xff")]).result(30)
    until(lambda: reached(one, "none"))
    traces = {body.submission_id: orjson.loads(body.jobs[0].body).get("trace") for body in one.bodies(Submitted)}
    assert traces == {"header": {"traceparent": parents[0]}, "field": {"traceparent": parents[1]}, "none": None}


BAD_SUBMISSIONS: dict[str, Any] = {
    "null": None,
    "empty": b"",
    "noise": b"\xff\xfe\x00\x01",
    "unknown fingerprint": b"\xc3\x01unknown!rest",
    "schema id without registry": b"\x00\x00\x00\x00\x07data",
    "cut off": b"\xc3\x01",
    "no object": b"[1, 2]",
    "not a number": b'{"job_type": "x", "payload": {"a": NaN}}',
    "endless nesting": b"[" * 200_000,
    "no fields": b"{}",
    "no payload": b'{"job_type": "x"}',
    "wrong types": b'{"job_type": 5, "payload": [], "priority": "high", "submission_id": {}}',
    "payload is no JSON": {"job_type": "x", "payload": "{"},
    "deep payload": b'{"job_type": "x", "payload": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    "600 KB": {"job_type": "x", "payload": json.dumps({"a": "x" * 600_000})},
    "odd queue": {"job_type": "x", "payload": "{}", "job_queue": "../Odd Queue; $(id)€"},
    "odd type": {"job_type": "job:€ / \x00", "payload": "{}"},
    "unreadable disk usage": {"job_type": "x", "payload": '{"_disk_usage": "much"}'},
}


def test_each_bad_submission_is_answered_and_the_next_one_is_processed(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    for bad in BAD_SUBMISSIONS.values():
        one.submit(bad)
    one.submit(GOOD).result(30)
    until(lambda: reached(one, "good"), what="the good submission")
    until(lambda: len(one.bodies(Rejected)) + len(one.dead()) == len(BAD_SUBMISSIONS), what="an answer to each")
    originals = [value for value, _ in one.dead()]
    undecodable = list(BAD_SUBMISSIONS.values())[:9]
    assert originals == undecodable
    for number, (_, headers) in enumerate(one.dead()):
        assert headers[dead.TOPIC].decode() == one.topology.submit.name
        assert (headers[dead.PARTITION], headers[dead.OFFSET]) == (b"0", str(number).encode())
        assert int(headers[dead.TIMESTAMP]) > 0
        assert headers[dead.REASON]
        assert headers[dead.ORIGINAL + "client"] == b"test"
    assert all(body.error for body in one.bodies(Rejected))


def test_a_record_of_a_source_is_called_by_its_key_and_its_place_there(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    headers = [("jobstream.source", b"pg"), ("jobstream.id-headers", b"lsn"), ("jobstream.job-type", b"tile")]
    for place in ([("lsn", b"17")], [("lsn", b"17")], [("lsn", b"18")], []):
        one.publisher.send(one.topology.submit, b"row", b'{"a": 1}', 0, headers + place).result(30)
    until(lambda: len(one.inbox()) == 4, what="an answer to each")
    taken = one.bodies(Submitted)
    assert [body.submission_id for body in taken] == ["pg/row@17", "pg/row@17", "pg/row@18"]
    assert len({asked_of(job.job_id) for body in taken for job in body.jobs}) == 2
    (refused,) = one.bodies(Rejected)
    assert "no header lsn" in refused.error


def test_bad_reports_and_control_become_dead_letters_and_the_next_are_processed(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    job = "f-1"
    partition = one.topology.job_partition(job)
    bad = [
        b"noise",
        b'{"kind": "started", "holder": "w", "job_id": "f-1", "attempt": 1, "token": "\xc3\xa9"}',
        b'{"kind": "started", "holder": 5}',
        b'{"kind": "heartbeat", "holder": "w", "attempts": [{"job_id": "f-1", "attempt": 1, "token": "", "x": 1}]}',
        one.codec.encode("report", WorkerReport("promoted", "w").record()),
        one.codec.encode("report", WorkerReport("started", "w", job, 1, "wrong").record()),
    ]
    for value in bad:
        one.send_report(value, partition)
    one.report("started", job, partition=(partition + 1) % 3)
    one.report("release", job, result="no JSON")
    requests = [b"noise", ControlRequest("promote", job).record(), ControlRequest("revoke", "").record()]
    for request in requests:
        value = request if isinstance(request, bytes) else one.codec.encode("control", request)
        one.publisher.send(one.topology.control, b"", value, partition).result(30)
    one.report("started", job)
    revoke = one.codec.encode("control", ControlRequest("revoke", job, "ops", "why").record())
    one.publisher.send(one.topology.control, b"", revoke, (partition + 1) % 3).result(30)
    until(lambda: one.bodies(Report) and one.bodies(Control), what="the good report and the revoke")
    until(lambda: len(one.dead()) == len(bad) + 2 + len(requests), what="a dead letter for each")
    assert [(body.kind, body.job_id) for body in one.bodies(Report)] == [("started", job)]
    assert [(body.action, body.by) for body in one.bodies(Control)] == [("revoke", "ops")]
    assert {number for number, _ in one.partitions_of_inbox()} == {partition}


def test_heartbeats_keep_what_they_can_prove_and_ticks_their_partition(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    job = "f-1"
    partition = one.topology.job_partition(job)
    good = Shown(job, 2, token(KEY.encode(), job, 2, "w:1:a"))
    forged = Shown(job, 3, good.token)
    beat = WorkerReport("heartbeat", "w:1:a", attempts=(good, forged))
    one.send_report(one.codec.encode("report", beat.record()), partition)
    shown = tick_token(KEY.encode(), partition, 41, True, "owner-1")
    tick = WorkerReport("tick", "owner-1", previous=41, resumed=True, token=shown)
    forgeries = [replace(tick, token=""), replace(tick, previous=42), replace(tick, resumed=False)]
    for one_tick in (*forgeries, tick):
        one.send_report(one.codec.encode("report", one_tick.record()), partition)
    one.send_report(one.codec.encode("report", tick.record()), (partition + 1) % 3)
    until(lambda: one.bodies(Tick), what="the tick")
    assert one.bodies(Heartbeat) == [Heartbeat("w:1:a", (Held(job, 2),))]
    until(lambda: len(one.dead()) == 4, what="the forged ticks, and that of another partition")
    assert one.bodies(Tick) == [Tick(41, True, "owner-1")]
    assert [(number, message.family) for number, message in one.partitions_of_inbox()] == [(partition, "")] * 2
    assert all(message.time > 0 for message in one.inbox())


def test_a_new_types_queue_is_declared_before_its_first_job_is_forwarded(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    one.submit(GOOD).result(30)
    until(lambda: reached(one, "good"), what="the submission")
    settings = Tail(one.settings, one.topology.settings)
    declared = until(settings.more, what="the declaration")
    assert [(message.key(), orjson.loads(message.value())) for message in declared] == [
        (b"queue/good", {"declared": True, "paused": False})
    ]
    forwarded = next(message for message in one._inbox.messages if b"good" in message.value())
    assert declared[0].timestamp()[1] <= forwarded.timestamp()[1]
    run_topic = Tail(one.settings, one.topology.run("good"))
    assert run_topic.more() == []
    settings.close()
    run_topic.close()


def test_a_queue_that_an_operator_paused_a_moment_ago_stays_paused(
    site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = site()
    stop = threading.Event()
    declared = Queues(one.settings, admin.client(one.settings), one.publisher)
    admin.declare_queue(one.settings, "good", paused=True)
    # nobody has read that record yet: better to wait than to declare it anew, unpaused
    monkeypatch.setattr(queues, "CALL_TIMEOUT", 0.2)
    with pytest.raises(OSError, match=r"jobs\.settings was not read"):
        declared.require("good")
    monkeypatch.undo()
    follower = threading.Thread(target=declared.follow, args=(stop.is_set,))
    follower.start()
    declared.require("good")
    stop.set()
    follower.join()
    settings = Tail(one.settings, one.topology.settings)
    until(settings.more, what="the declaration")
    assert len(settings.more()) == 1
    settings.close()


def test_without_auto_declare_a_queue_is_declared_by_an_operator(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site(auto_declare=False)
    opened(one.settings)
    one.submit(GOOD).result(30)
    (refused,) = until(lambda: one.bodies(Rejected), what="the rejection")
    assert refused.error == "queue good is not declared: jobstream queues declare good"
    admin.declare_queue(one.settings, "good")
    one.submit(GOOD).result(30)
    until(lambda: reached(one, "good"), what="the submission after the declaration")


def test_no_more_queues_are_declared_on_the_way_than_allowed(site: NewSite, opened: Callable[[Settings], Gate]) -> None:
    one = site(max_queues=2)
    opened(one.settings)
    for number in range(3):
        one.submit({"job_type": f"type-{number}", "payload": "{}", "submission_id": str(number)}).result(30)
    (refused,) = until(lambda: one.bodies(Rejected), what="the rejection")
    assert "type-2 is not declared" in refused.error
    assert {body.submission_id for body in one.bodies(Submitted)} == {"0", "1"}


CREATORS = """
import random, time

def slow(payload, job_type):
    time.sleep(random.random() / 100)
    return {"type": job_type, "params": payload}

def hangs(payload, job_type):
    time.sleep(3600)
"""


def configured(folder: Path, function: str) -> dict[str, Path]:
    (folder / "creators").mkdir()
    (folder / "creators" / "made.py").write_text(CREATORS)
    creator = {"job_name": "made", "function": f"made.{function}", "job_queues": ["made"]}
    file = folder / "orchestrator_jobs.json"
    file.write_text(json.dumps({"configs": [{"job_type": "job:made", "job_creators": [creator]}]}))
    return {"creators_file": file, "creators_dir": folder / "creators"}


def test_a_source_partitions_order_is_kept_though_creators_run_at_once(
    site: NewSite, opened: Callable[[Settings], Gate], tmp_path: Path
) -> None:
    one = site(threads=4, **configured(tmp_path, "slow"))
    count = 300
    for number in range(count):
        kind = "job:made" if number % 3 else "job:good"
        last = one.submit({"job_type": kind, "payload": json.dumps({"n": number})}, number % 2)
    last.result(30)
    opened(one.settings)

    def ledger_works() -> bool:
        one.ledger_reaches_the_end()
        return len(one.bodies(Submitted)) == count

    until(ledger_works, timeout=60, what="all submissions")
    seen: dict[tuple[int, int], list[int]] = {}
    for number, message in one.partitions_of_inbox():
        assert message.source is not None
        seen.setdefault((number, message.source.partition), []).append(message.source.offset)
    assert len(seen) == 6
    assert all(offsets == sorted(offsets) for offsets in seen.values())


def test_a_creator_that_never_returns_rejects_its_submission_and_holds_up_no_other(
    site: NewSite, opened: Callable[[Settings], Gate], tmp_path: Path
) -> None:
    one = site(threads=1, creator_timeout=0.3, **configured(tmp_path, "hangs"))
    opened(one.settings)
    for _ in range(3):
        one.submit({"job_type": "job:made", "payload": "{}"})
    one.submit(GOOD).result(30)
    until(lambda: reached(one, "good"), what="the submission after them")
    assert [body.error for body in one.bodies(Rejected)] == ["its job creators did not return within 0.3 s"] * 3


def test_submissions_wait_while_the_inbox_lags_and_reports_overtake_them(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site(lag_limit=20, batch=10)
    count = 300
    for number in range(count):
        last = one.submit({"job_type": "good", "payload": json.dumps({"n": number})}, number % 2)
    last.result(30)
    gate = opened(one.settings)
    until(lambda: gate._lag.allowance == 0 and len(one.bodies(Submitted)) > 0, what="the pause")
    one.report("started", "f-1")
    until(lambda: one.bodies(Report), what="the report")
    waiting = len(one.bodies(Submitted))
    assert 0 < waiting < count
    # the inbox has three partitions
    assert waiting <= 20 * 3

    def ledger_works() -> bool:
        one.ledger_reaches_the_end()
        return len(one.bodies(Submitted)) == count

    until(ledger_works, timeout=60, what="all submissions")


def test_while_the_registry_is_away_records_wait_and_none_is_blamed(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    with Server() as registry:
        registry.broken = True
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{registry.server_port}"
        one = site()
        opened(one.settings.model_copy(update={"kafka": one.settings.kafka.model_copy(update={"registry_url": url})}))
        registry.schemas.append(json.dumps(one.codec.schema("submission").raw))
        # an id that the registry knows, and one that it doesn't
        one.submit(b"\x00\x00\x00\x00\x00" + one.codec.encode("submission", GOOD)[10:]).result(30)
        one.submit(b"\x00\x00\x00\x00\x32data").result(30)
        until(lambda: len(registry.calls) > 1, what="the gate's second try")
        assert one.dead() == []
        registry.broken = False
        one.codec = Codec(ConfluentRegistry(url, 5.0))
        until(lambda: reached(one, "good"), what="the submission")
        (letter,) = until(one.dead, what="the dead letter")
        registry.shutdown()
    assert letter[1][dead.REASON] == b"unknown schema id 50"


def test_a_stop_leaves_nothing_to_repeat(site: NewSite, opened: Callable[[Settings], Gate]) -> None:
    one = site()
    first = opened(one.settings)
    for number in range(50):
        one.submit({"job_type": "good", "payload": json.dumps({"n": number})}, number % 2).result(30)
    until(lambda: len(one.bodies(Submitted)) >= 10, what="some submissions")
    first.stop()
    opened(one.settings)
    one.submit(GOOD).result(30)
    until(lambda: reached(one, "good"), what="the submission after the restart")
    assert len(one.bodies(Submitted)) == 51


def test_a_gate_killed_before_its_commit_repeats_with_the_same_sources_and_loses_nothing(
    site: NewSite, tmp_path: Path
) -> None:
    one = site()
    count = 40
    never_commits = f"import agents.gate.loop as loop; loop._COMMIT_MS = 3_600_000; {START}"
    victim = started(one.settings, tmp_path, never_commits)
    for number in range(count):
        one.submit({"job_type": "good", "payload": json.dumps({"n": number})}, number % 2).result(30)
    one.report("started", "f-1")
    until(lambda: len(one.inbox()) == count + 1, timeout=60, what="everything, once")
    victim.kill()
    victim.wait()
    before = {(message.source, message.family) for message in one.inbox()}
    successor = started(one.settings, tmp_path)
    until(lambda: len(one.inbox()) == 2 * (count + 1), timeout=60, what="everything, twice")
    assert {(message.source, message.family) for message in one.inbox()} == before
    bodies = one.bodies(Submitted)
    assert all(bodies.count(body) == 2 for body in bodies)
    successor.send_signal(signal.SIGTERM)
    assert successor.wait(60) == 0


def test_a_failed_delivery_ends_the_gate_and_the_next_one_forwards_the_record(
    site: NewSite, opened: Callable[[Settings], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = site()
    died = threading.Event()
    send = loop._send

    def fails(publisher: Publisher, out: Outgoing) -> "Future[Delivered]":
        if b"good" not in (out.value or b""):
            return send(publisher, out)
        failed: Future[Delivered] = Future()
        failed.set_exception(DeliveryError(KafkaError(KafkaError._MSG_TIMED_OUT)))
        return failed

    monkeypatch.setattr(loop, "_send", fails)
    first = Gate(one.settings, died.set)
    first.start()
    one.submit({"job_type": "other", "payload": "{}", "submission_id": "before"}).result(30)
    until(lambda: reached(one, "before"), what="the submission before")
    one.submit(GOOD).result(30)
    assert died.wait(60)
    first.stop()
    monkeypatch.undo()
    opened(one.settings)
    until(lambda: reached(one, "good"), what="the submission that failed")
    assert [body.submission_id for body in one.bodies(Submitted)] == ["before", "good"]


def test_a_gate_without_topics_does_not_start(kafka: str, tmp_path: Path) -> None:
    process = started(settings_for(kafka, tmp_path), tmp_path)
    assert process.wait(60) == 1
    assert "jobstream topics apply" in (tmp_path / "gate.log").read_text()


def test_a_message_that_the_broker_refuses_becomes_a_dead_letter(
    site: NewSite, opened: Callable[[Settings], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = site()
    gate = opened(one.settings)
    decide = gate._submissions.decide

    def too_large(records: Any) -> Any:
        made = decide(records)
        return [
            out if b"huge" not in (record.value or b"") else Outgoing(out.topic, 0, b"", b"x" * 3_000_000)
            for record, out in zip(records, made, strict=True)
        ]

    monkeypatch.setattr(gate._loops[1], "_decide", too_large)
    one.submit({"job_type": "huge", "payload": "{}"}).result(30)
    one.submit(GOOD).result(30)
    until(lambda: reached(one, "good"), what="the next submission")
    (letter,) = until(one.dead, what="the dead letter")
    assert "large" in letter[1][dead.REASON].decode()


def test_a_job_id_names_the_partition_that_its_submission_went_to(
    site: NewSite, opened: Callable[[Settings], Gate]
) -> None:
    one = site()
    opened(one.settings)
    one.submit(GOOD | {"payload_hash": "mine"}).result(30)
    until(lambda: reached(one, "good"), what="the submission")
    ((partition, message),) = one.partitions_of_inbox()
    (body,) = one.bodies(Submitted)
    family = family_of_hash("mine")
    assert asked_of(body.jobs[0].job_id) == job_id(family, "good", "mine", "utils.get_job_json", "good")
    assert (message.family, partition) == (family, one.topology.job_partition(body.jobs[0].job_id))
