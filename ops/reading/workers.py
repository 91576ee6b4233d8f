"""Workers as their statuses show them, and which of them drain."""

import time
from dataclasses import dataclass

import orjson

from agents.bus import CALL_TIMEOUT, Publisher
from agents.registry import codec
from ops.reading.table import read_table
from pipeline import protocol
from pipeline.codec import DecodeError
from pipeline.messages.status import WorkerStatus
from pipeline.protocol import Protocol, why_not
from pipeline.settings import Settings

_WORKER = "worker/"


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker's newest status, when the broker took it (ms), and whether it is to get no more jobs, and why.

    `silent`: it said nothing for `scheduler.silence_ms`, and gets no jobs for that. `apart`: nor does one that speaks
    another protocol than this installation; its status may be unreadable here, and then says its id alone.
    """

    status: WorkerStatus
    seen: int
    draining: bool
    silent: bool
    reason: str = ""
    apart: bool = False


def worker_rows(settings: Settings) -> list[WorkerRow]:
    """Return every worker heard of within the topic's retention, by id.

    Raises `ops.reading.log.BrokerError` where Kafka can't be reached.
    """
    draining = draining_workers(settings)
    reader, speaks = codec(settings), protocol.own(settings.security.sealing)
    now = time.time() * 1000
    rows = []
    for worker_id, row in sorted(read_table(settings, settings.topology.status).items()):
        apart = why_not(Protocol.in_headers(row.headers), speaks)
        try:
            status = WorkerStatus.of(reader.decode("status", row.value))
        except (DecodeError, KeyError, TypeError, ValueError):
            if not apart:
                continue
            status = WorkerStatus(worker_id, "", -1, 0, 0, 0, accepting=False)
        silent = now - row.time > settings.scheduler.silence_ms
        reason = apart or draining.get(worker_id) or status.reason
        rows.append(WorkerRow(status, row.time, worker_id in draining, silent, reason, bool(apart)))
    return rows


def draining_workers(settings: Settings) -> dict[str, str]:
    """Return why each worker that is to drain does so, by id: an operator or the worker itself said it."""
    rows = read_table(settings, settings.topology.settings)
    marked = {key[len(_WORKER) :]: row.json() for key, row in rows.items() if key.startswith(_WORKER)}
    return {
        worker_id: str(value.get("reason") or "")
        for worker_id, value in marked.items()
        if value.get("draining") is True
    }


def set_draining(settings: Settings, worker_id: str, reason: str, *, draining: bool) -> None:
    """Tell the schedulers that a worker is to get no more jobs, or jobs again. Raises DeliveryError, OSError."""
    publisher = Publisher(settings, settings.topology.name("jobstream-workers"))
    value = orjson.dumps({"draining": True, "reason": reason}) if draining else None
    try:
        publisher.send(settings.topology.settings, f"{_WORKER}{worker_id}", value, 0).result(CALL_TIMEOUT)
    except TimeoutError as error:
        raise OSError(f"{worker_id}: the broker took no record on jobs.settings in {CALL_TIMEOUT} s") from error
    finally:
        publisher.close(0.1)
