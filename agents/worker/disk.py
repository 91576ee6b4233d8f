"""Room on the disk for each attempt, before anything of it is begun (spec §3.5)."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

from agents.worker.work import Assignment, MayPublish, Started, Work, WorkResult
from pipeline.containers.stop import Level, Stop
from pipeline.containers.threads import in_thread
from pipeline.disk.errors import DiskShortError
from pipeline.disk.keeper import PATIENCE, Keeper, Wish
from pipeline.disk.seats import Seat
from pipeline.inputs.errors import CancelledError, TimeLimitError
from pipeline.inputs.patience import Patience
from pipeline.inputs.room import Room
from pipeline.settings import Settings
from pipeline.submission.disk import mib_of
from pipeline.work.directory import name_of
from pipeline.work.errors import AttemptError, Category
from pipeline.work.worker_config import JobWorkerConfig

log = logging.getLogger(__name__)

_MIB = 1 << 20


class SeatedWork:
    """Other work, each attempt of which has a seat in the work root while it runs; without one it is handed back."""

    def __init__(self, work: Work, settings: Settings) -> None:
        """Raises ValueError for a job_worker.json that is none."""
        worker = settings.worker
        self._work = work
        self._config = JobWorkerConfig.load(worker.job_worker_file) if worker.job_worker_file else None
        size = settings.inputs.cache_mib << 20
        cache = Room(settings.input_cache, size) if size else None
        self._keeper = Keeper(settings.work_root, worker.disk_keep_percent, cache, settings.input_cache)

    async def reap(self) -> list[tuple[str, int]]:
        """See Work; also closes what any process on this root left when it died."""
        orphans = await self._work.reap()
        try:
            await in_thread(self._keeper.sweep)
        except (OSError, TimeLimitError) as error:
            log.warning("the work root was not swept: %s", error)
        return orphans

    async def run(self, assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
        """See Work."""
        try:
            seat = await self._seat(assignment, stop)
        except DiskShortError as error:
            said = {"error": str(error), "category": Category.WORKER.value}
            return WorkResult(False, said, handed_back=str(error))
        try:
            return await self._work.run(assignment, stop, started, may_publish)
        finally:
            if seat is not None:
                seat.leave()

    async def close(self) -> None:
        """See Work."""
        await self._work.close()

    async def _seat(self, assignment: Assignment, stop: Stop) -> Seat | None:
        """Return an attempt's seat; None where its end is decided already, which the attempt finds out itself.

        That is: it is stopped, its job id is no plain name, or the root can't be written to. Raises DiskShortError.
        """
        try:
            name = name_of(assignment.job_id, assignment.attempt)
            seat = await self._admitted(Wish(name, assignment.worker, need_of(assignment.document, self._config)), stop)
        except (AttemptError, CancelledError):
            return None
        except OSError as error:
            log.error("job %s runs without having reserved disk: %s", assignment.job_id, error)
            return None
        if seat.short:
            log.warning("job %s runs although the disk should have %d MiB more", assignment.job_id, seat.short // _MIB)
        return seat

    async def _admitted(self, wish: Wish, stop: Stop) -> Seat:
        unwanted = threading.Event()
        admitting = asyncio.ensure_future(in_thread(self._keeper.admit, wish, Patience(PATIENCE, "disk", unwanted)))
        stopping = asyncio.ensure_future(stop.beyond(Level.NONE))
        try:
            await asyncio.wait({admitting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not admitting.done():
                unwanted.set()
            return await asyncio.shield(admitting)
        except asyncio.CancelledError:
            # nobody waits for the seat any more
            unwanted.set()
            admitting.add_done_callback(_leave)
            raise
        finally:
            stopping.cancel()


def need_of(document: Mapping[str, Any], config: JobWorkerConfig | None) -> int:
    """Return the bytes that a job needs: by the worker's configuration of its type, else by its own needs."""
    entry = config.of_type(str(document.get("type"))) if config else None
    if entry is not None and entry.disk_usage:
        return mib_of(entry.disk_usage) * _MIB
    needs = document.get("needs")
    mib = needs.get("disk_mib") if isinstance(needs, Mapping) else None
    return mib * _MIB if isinstance(mib, int) and mib > 0 else 0


def _leave(admitting: "asyncio.Future[Seat]") -> None:
    if not admitting.cancelled() and admitting.exception() is None:
        admitting.result().leave()
