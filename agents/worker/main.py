"""Runs a worker as a process."""

import asyncio
import logging
import os
import signal

from agents.logging import configure
from agents.worker.cloud import Cloud
from agents.worker.exits import Exit
from agents.worker.heartbeat import PER_LEASE
from agents.worker.identity import Seat, TakenError
from agents.worker.nothing import NoWork
from agents.worker.work import Work
from agents.worker.worker import Worker
from pipeline.containers.errors import RefusedError
from pipeline.containers.factory import canonical, engine_names
from pipeline.containers.ownership import parse_user
from pipeline.sealing import HolderKey
from pipeline.settings import Settings

log = logging.getLogger(__name__)

#: The engine whose work is `NoWork`.
NOOP = "noop"
#: The engine that runs jobs as plain processes.
PROCESS = "process"


class MisconfiguredError(ValueError):
    """Settings that no worker can run with."""


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM or SIGINT (a second one: at once); return its exit code, an `Exit`.

    Needs no broker to start: it waits for one.
    """
    configure(settings, "worker")
    try:
        check(settings)
        key = HolderKey() if settings.security.sealing else None
        seat = Seat(settings.home, settings.worker.id, None if key is None else key.text)
    except MisconfiguredError as error:
        log.error("can't start: %s", error)
        return Exit.MISCONFIGURED
    except TakenError as error:
        log.error("can't start: %s", error)
        return Exit.TAKEN
    try:
        cloud = Cloud()
        return asyncio.run(_live(settings, seat.holder, _work(settings, seat.holder, cloud), cloud, key))
    except MisconfiguredError as error:
        log.error("can't start: %s", error)
        return Exit.MISCONFIGURED
    except Exception:
        log.exception("the worker failed")
        return Exit.FAILED
    finally:
        seat.leave()


def check(settings: Settings) -> None:
    """Raise MisconfiguredError for settings that would lose leases, or an engine or user that jobs can't have."""
    worker = settings.worker
    if settings.ledger.lease_ms < PER_LEASE * worker.heartbeat_ms:
        raise MisconfiguredError(
            f"a lease of {settings.ledger.lease_ms} ms is shorter than {PER_LEASE} heartbeats of "
            f"{worker.heartbeat_ms} ms: jobs would be lost while they run"
        )
    if worker.drain_failures > worker.drain_runs:
        raise MisconfiguredError(f"{worker.drain_failures} failures can't be among {worker.drain_runs} runs")
    _check_user(settings)
    if canonical(worker.engine) not in engine_names():
        raise MisconfiguredError(f"no engine {worker.engine!r} (there are: {', '.join(engine_names())})")


def _check_user(settings: Settings) -> None:
    worker = settings.worker
    if worker.user is None:
        return
    try:
        uid, _ = parse_user(worker.user)
    except RefusedError as error:
        raise MisconfiguredError(f"jobs can't run as {worker.user}: {error}") from error
    if worker.engine == PROCESS and os.geteuid() not in (0, uid):
        raise MisconfiguredError(f"only a worker that is root can run processes as user {worker.user}")


def _work(settings: Settings, holder: str, cloud: Cloud) -> Work:
    if settings.worker.engine == NOOP:
        return NoWork()
    # only who runs commands pays for what runs them
    from agents.worker.disk import SeatedWork
    from agents.worker.engine_work import EngineWork

    try:
        return SeatedWork(EngineWork(settings, holder, cloud), settings)
    except (ValueError, OSError) as error:
        raise MisconfiguredError(str(error)) from error


async def _live(settings: Settings, holder: str, work: Work, cloud: Cloud, key: HolderKey | None) -> Exit:
    worker = Worker(settings, holder, work, cloud, key)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    return await worker.live()
