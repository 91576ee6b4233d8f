"""What becomes of a record on jobs.reports or jobs.control: pure, one record in, one out (design §3, §4).

A report is let through when it shows the token of its attempt and holder; whether that attempt is the current one is
the ledger's business.
"""

import orjson

from agents.gate.dead import DeadLetterError, dead_letter
from agents.gate.record import Incoming, Outgoing, TooLargeError, inbox_record
from pipeline.codec import Codec, DecodeError
from pipeline.identity import family_of_job, tick_is_valid, token_is_valid
from pipeline.messages.control import ACTIONS, ControlRequest
from pipeline.messages.inbox import Body, Control, Heartbeat, Held, Inbox, Report, Source, Tick
from pipeline.messages.report import FINAL, HEARTBEAT, OF_ATTEMPTS, TICK, WorkerReport
from pipeline.topology import REPORT_LIMIT, Topology

#: Characters of a holder, job id or operator's name.
_MAX_NAME = 512
#: Room for what surrounds a report's result.
_REPORT_ROOM = 8 * 1024


class Reports:
    """Decides on records of both topics; `key` is that of the attempt tokens."""

    def __init__(self, topology: Topology, codec: Codec, key: bytes) -> None:
        self._topology = topology
        self._codec = codec
        self._key = key
        self._inbox, self._dead = topology.inbox, topology.dead
        self._control = topology.control.name

    def decide(self, record: Incoming) -> Outgoing:
        """Return the inbox message or the dead letter for a record; OSError where the registry can't be reached."""
        try:
            if record.topic == self._control:
                return self._controlled(record)
            return self._reported(record)
        except (DeadLetterError, DecodeError, TooLargeError) as error:
            return dead_letter(self._dead, record, str(error))
        except (TypeError, KeyError, ValueError) as error:
            return dead_letter(self._dead, record, f"not a record of its schema: {error}"[:500])

    def _reported(self, record: Incoming) -> Outgoing:
        if record.value is not None and len(record.value) > REPORT_LIMIT + _REPORT_ROOM:
            raise DeadLetterError(f"a report of {len(record.value)} bytes, the limit is {REPORT_LIMIT}")
        report = WorkerReport.of(self._codec.decode("report", record.value))
        source = Source("reports", record.partition, record.offset, record.topic_id)
        if report.kind in OF_ATTEMPTS:
            body, family = self._report(report, record.partition)
        elif report.kind == HEARTBEAT:
            body, family = self._heartbeat(report, record.partition), ""
        elif report.kind == TICK:
            body, family = self._tick(report, record.partition), ""
        else:
            raise DeadLetterError(f"unknown kind of report: {report.kind[:40]!r}")
        return inbox_record(self._codec, self._inbox, record.partition, Inbox(family, body, source, record.time))

    def _report(self, report: WorkerReport, partition: int) -> tuple[Body, str]:
        job = report.job_id or ""
        self._check_partition(job, partition)
        if report.attempt < 1 or not token_is_valid(self._key, job, report.attempt, report.holder, report.token):
            raise DeadLetterError(f"the token is not that of attempt {report.attempt} of job {job} and this holder")
        # a final report ends its attempt whatever its result is like: the ledger says what was wrong with it
        if report.kind not in FINAL and not _is_object(report.result):
            raise DeadLetterError(f"the result of job {job} is not a JSON object")
        return Report(report.kind, job, report.attempt, report.holder, report.result), family_of_job(job)

    def _tick(self, report: WorkerReport, partition: int) -> Tick:
        if not tick_is_valid(self._key, partition, report.previous, report.resumed, report.holder, report.token):
            raise DeadLetterError("the token is not that of this tick")
        return Tick(report.previous, report.resumed, report.holder)

    def _heartbeat(self, report: WorkerReport, partition: int) -> Heartbeat:
        held = tuple(
            Held(one.job_id, one.attempt)
            for one in report.attempts
            if self._topology.job_partition(one.job_id) == partition
            and token_is_valid(self._key, one.job_id, one.attempt, report.holder, one.token)
        )
        if report.attempts and not held:
            raise DeadLetterError(f"a heartbeat without any valid token, from {report.holder[:_MAX_NAME]}")
        return Heartbeat(report.holder, held)

    def _controlled(self, record: Incoming) -> Outgoing:
        request = ControlRequest.of(self._codec.decode("control", record.value))
        if request.action not in ACTIONS:
            raise DeadLetterError(f"unknown action: {request.action[:40]!r}; there are {', '.join(sorted(ACTIONS))}")
        if not 0 < len(request.job_id) <= _MAX_NAME:
            raise DeadLetterError(f"a job id has 1 to {_MAX_NAME} characters, not {len(request.job_id)}")
        if not _is_object(request.arguments):
            raise DeadLetterError("the arguments are not a JSON object")
        body = Control(request.action, request.job_id, request.by, request.reason, request.arguments)
        # an operator's own producer may have chosen any partition: the family's is the one that counts
        partition = self._topology.job_partition(request.job_id)
        source = Source("control", record.partition, record.offset, record.topic_id)
        message = Inbox(family_of_job(request.job_id), body, source, record.time)
        return inbox_record(self._codec, self._inbox, partition, message)

    def _check_partition(self, job: str, partition: int) -> None:
        if not 0 < len(job) <= _MAX_NAME:
            raise DeadLetterError(f"a job id has 1 to {_MAX_NAME} characters, not {len(job)}")
        expected = self._topology.job_partition(job)
        if partition != expected:
            raise DeadLetterError(f"job {job} belongs to partition {expected}, not {partition}")


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
