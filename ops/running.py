"""One job, run here and now: by what workers run jobs with, without any server."""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from agents.worker.disk import SeatedWork
from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment, WorkResult
from pipeline.containers.stop import Level, Stop
from pipeline.identity import task_id
from pipeline.jobtypes.job_type import JobType
from pipeline.messages.inbox import Source, Submitted
from pipeline.settings import Settings
from pipeline.submission import creators, request
from pipeline.submission.jobs import Origin, jobs_of

#: What the holder and the engine's records are called; no worker of the same home takes such a run for its own.
WORKER = "local"


class UnrunnableError(ValueError):
    """There is no job in the document; the text says what is missing."""


def job_of(document: Mapping[str, Any], settings: Settings, types: Sequence[JobType] = ()) -> dict[str, Any]:
    """Return the job to run, under an id of its own.

    `document` is a submission (it has a `job_type`; the first job that the creators of `settings`, or one of `types`,
    make of it runs), a job such as `_job.json`, or a status document with one. Raises UnrunnableError,
    UnacceptableError, CreatorsError.
    """
    if "job_type" in document:
        job = _submitted(document, settings, types)
    else:
        inner = document.get("job")
        job = dict(inner) if isinstance(inner, Mapping) else dict(document)
        if not isinstance(job.get("params"), Mapping):
            raise UnrunnableError("a submission has a job_type, a job has params, and this has neither")
    identity = f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    given = job.get("job_info")
    info = dict(given) if isinstance(given, Mapping) else {}
    kept = {
        key: info[key]
        for key in ("time_limit", "soft_time_limit", "payload_hash", "dedup", "job_payload")
        if key in info
    }
    return {**job, "job_id": identity, "attempt": 1, "job_info": {**kept, "id": identity, "job_queue": "local"}}


def run(settings: Settings, job: Mapping[str, Any], begun: Callable[[Mapping[str, Any]], None]) -> WorkResult:
    """Run a job to its end; `begun` is told the `job_info` known before its command starts.

    Products are published where `settings` have a `datasets_file`. SIGINT and SIGTERM ask the job to end, a second one
    kills it. Raises ValueError for settings that can't be used.
    """
    return asyncio.run(_run(settings, job, begun))


def exit_code(result: WorkResult) -> int:
    """Return the job's own exit status, 0 where it completed, 1 where it failed without one."""
    if result.completed:
        return 0
    status = (result.result.get("job_info") or {}).get("status")
    return status if isinstance(status, int) and 0 < status < 256 else 1


def local(
    settings: Settings, engine: str | None, root: Path | None, job_worker: Path | None, publish: bool
) -> Settings:
    """Return the settings of a local run; products are published only where that is asked for."""
    worker = settings.worker
    changed = {
        "id": WORKER,
        "engine": engine or worker.engine,
        "root": root or worker.root,
        "job_worker_file": job_worker or worker.job_worker_file,
        "datasets_file": worker.datasets_file if publish else None,
        # there may be no broker to take them
        "log_mib": 0,
    }
    return settings.model_copy(update={"worker": worker.model_copy(update=changed)})


async def _run(settings: Settings, job: Mapping[str, Any], begun: Callable[[Mapping[str, Any]], None]) -> WorkResult:
    holder = f"{WORKER}:{time.time_ns() // 1_000_000}:{secrets.token_hex(4)}"
    work, stop = SeatedWork(EngineWork(settings, holder), settings), Stop()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.request(Level.KILL if stop.level is Level.TERM else Level.TERM, "interrupted")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)

    async def may_publish() -> bool:
        return stop.level is Level.NONE

    identity = str(job["job_id"])
    document = {**job, "task_id": task_id(identity, 1)}
    assignment = Assignment(document=document, job_id=identity, attempt=1, worker=WORKER, holder=holder)
    try:
        return await work.run(assignment, stop, begun, may_publish)
    finally:
        await work.close()


def _submitted(document: Mapping[str, Any], settings: Settings, types: Sequence[JobType]) -> dict[str, Any]:
    gate = settings.gate
    known = creators.load(gate.creators_file, gate.creators_dir).knowing({one.id: one for one in types}.get)
    submission = request.parse(document, orjson.dumps(document))
    origin = Origin("run", Source("submit", 0, 0), time.time_ns() // 1_000_000)
    body = jobs_of(submission, known.of(submission), origin, gate.hard_limit_gap).body
    assert isinstance(body, Submitted)
    job: dict[str, Any] = orjson.loads(body.jobs[0].body)
    return job
