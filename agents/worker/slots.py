"""Slots: each runs one attempt after the other, from its grant to the delivery of its last report."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from agents.announcing import Announcer, Places
from agents.worker.actor import Actor, now_ms
from agents.worker.documents import Documents, UnreadableDocumentError
from agents.worker.draining import Warden
from agents.worker.permission import Permission
from agents.worker.rack import Rack, UnderWay, release
from agents.worker.reporting import Reporter
from agents.worker.work import Assignment, Work, WorkResult
from pipeline.containers.stop import Level
from pipeline.crash_points import here
from pipeline.holding.holdings import LEAVING, Verdict
from pipeline.holding.results import as_json, by_reference
from pipeline.messages.mark import mark_in
from pipeline.messages.report import COMPLETED, FAILED, STARTED

log = logging.getLogger(__name__)

#: Seconds that a stopped attempt may take beyond the engine's own grace, before it is cancelled.
STOP_PATIENCE = 90.0


class Slot(Actor):
    """Runs one attempt at a time."""

    def __init__(
        self,
        rack: Rack,
        reporter: Reporter,
        documents: Documents,
        work: Work,
        worker: str,
        announcer: Announcer | None = None,
        warden: Warden | None = None,
        stop_patience: float = STOP_PATIENCE,
        *,
        replays: bool = False,
    ) -> None:
        super().__init__()
        self._replays = replays
        self._announcer = announcer
        self._warden = warden
        self._stop_patience = stop_patience
        self._rack = rack
        self._reporter = reporter
        self._documents = documents
        self._work = work
        self._worker = worker

    async def act(self) -> None:
        """Run what is granted; an attempt is let go of however its run ends, so that the room it takes is free."""
        while True:
            under_way = await self._rack.next()
            try:
                await self._run(under_way)
            finally:
                self._rack.ended(under_way)

    async def _run(self, under_way: UnderWay) -> None:
        here("worker.taken")
        try:
            document = await self._documents.of(under_way.command)
        except UnreadableDocumentError as error:
            await self._hand_back(under_way, str(error))
            return
        needs = document.get("needs")
        self._rack.holdings.reserve(*under_way.key, needs if isinstance(needs, Mapping) else {})
        decision = self._rack.holdings.begin(*under_way.key, now_ms())
        if decision.verdict is Verdict.RELEASE:
            await self._hand_back(under_way, decision.reason)
        elif decision.verdict is Verdict.START and mark_in(document) and not self._replays:
            await self._refuse(under_way, mark_in(document))
        elif decision.verdict is Verdict.START:
            self._rack.begun(under_way, str(document.get("type")))
            here("worker.begun")
            await self._attempt(under_way, document)

    async def _attempt(self, under_way: UnderWay, document: Mapping[str, Any]) -> None:
        started = _Started(self._reporter, self._rack, under_way, self._worker)
        result = await self._worked(under_way, document, started)
        if not self._rack.is_ours(under_way):
            started.forget()
            return
        if not result.completed and self._rack.leaving and under_way.stop.level is not Level.NONE:
            await started.delivered(even_if_unsaid=False)
            await self._hand_back(under_way, LEAVING)
            return
        if result.handed_back:
            await self._hand_back(under_way, result.handed_back)
            return
        told = self._judged(result)
        if not await started.delivered():
            return
        places = await self._announced(under_way, document, result)
        if places is not None:
            kind = COMPLETED if result.completed else FAILED
            here("worker.report-due")
            await self._deliver(
                under_way, under_way.report(kind, as_json(by_reference(told, places if result.completed else {})))
            )

    def _judged(self, result: WorkResult) -> Mapping[str, Any]:
        """Count a run; the report of one because of which this worker drains says so, and so does the job's fact."""
        reason = self._warden.count(result) if self._warden else ""
        if not reason:
            return result.result
        return {**result.result, "msg": [*(result.result.get("msg") or ()), f"{self._worker} drains itself: {reason}"]}

    async def _announced(self, under_way: UnderWay, document: Mapping[str, Any], result: WorkResult) -> Places | None:
        """Say what was published, before the report: an attempt that dies between the two is followed by another.

        Returns where that was said; None once the attempt is no longer this worker's.
        """
        products = result.result.get("products" if result.completed else "triaged")
        if not products or self._announcer is None:
            return {}
        told = (*under_way.key, str(document.get("payload_hash")))
        places = await self._announcer.announce(products, *told, lambda: self._rack.is_ours(under_way))
        here("worker.announced")
        return places

    async def _worked(self, under_way: UnderWay, document: Mapping[str, Any], started: "_Started") -> WorkResult:
        assignment = Assignment(
            document=document,
            job_id=under_way.command.job_id,
            attempt=under_way.command.attempt,
            worker=self._worker,
            holder=under_way.command.holder,
        )
        permission = Permission(self._reporter, self._rack, under_way, started.delivered)
        run = asyncio.ensure_future(self._work.run(assignment, under_way.stop, started.say, permission.ask))
        watch = asyncio.ensure_future(_cancel_late(run, under_way, self._stop_patience))
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            if not run.cancelled():
                run.cancel()
                raise
            return WorkResult(False, {"error": "did not end when told to", "category": "worker"})
        except Exception as error:
            log.exception("job %s, attempt %d: the worker failed to run it", *under_way.key)
            return WorkResult(False, {"error": f"{type(error).__name__}: {error}", "category": "worker"})
        finally:
            watch.cancel()

    async def _refuse(self, under_way: UnderWay, marked: str) -> None:
        """Report a replayed job as failed without running it: handed back, it would go round all workers."""
        log.warning("job %s, attempt %d is of replay %s: not run", *under_way.key, marked)
        error = f"its submission was sent again by replay {marked}: {self._worker} runs no such jobs (worker.replays)"
        result = {"error": error, "short_error": "a replayed submission", "category": "replay"}
        await self._deliver(under_way, under_way.report(FAILED, as_json(result)))

    async def _hand_back(self, under_way: UnderWay, reason: str) -> None:
        if not self._rack.is_ours(under_way):
            return
        here("worker.handing-back")
        log.info("job %s, attempt %d handed back: %s", *under_way.key, reason)
        await self._deliver(under_way, release(under_way, reason))

    async def _deliver(self, under_way: UnderWay, report: Any) -> bool:
        return await self._reporter.deliver(report, lambda: self._rack.is_ours(under_way))


async def _cancel_late(run: "asyncio.Future[WorkResult]", under_way: UnderWay, patience: float) -> None:
    await under_way.stop.beyond(Level.NONE)
    await asyncio.wait({run}, timeout=patience)
    run.cancel()


class _Started:
    """The first report of an attempt: under way while its command runs already, delivered before the next one."""

    def __init__(self, reporter: Reporter, rack: Rack, under_way: UnderWay, worker: str) -> None:
        self._reporter = reporter
        self._rack = rack
        self._under_way = under_way
        self._worker = worker
        self._task: asyncio.Task[bool] | None = None

    def say(self, job_info: Mapping[str, Any]) -> None:
        """Send the report, the first time this is called."""
        if self._task is None:
            result = {"job_info": job_info, "celery_hostname": self._worker}
            report = self._under_way.report(STARTED, as_json(result))
            self._task = asyncio.create_task(
                self._reporter.deliver(report, lambda: self._rack.is_ours(self._under_way))
            )

    async def delivered(self, even_if_unsaid: bool = True) -> bool:
        """Wait for the delivery, after saying it if nobody has; False if the attempt was stopped before."""
        if self._task is None and even_if_unsaid:
            self.say({})
        return self._task is None or await asyncio.shield(self._task)

    def forget(self) -> None:
        """Give up on the delivery."""
        if self._task is not None:
            self._task.cancel()
