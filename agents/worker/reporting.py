"""Reports that must arrive: sent again until the broker has taken them."""

import asyncio
import logging
from collections.abc import Callable

from agents.bus import Delivered, DeliveryError, Publisher
from agents.worker.delivery import delivered
from pipeline.codec import Codec
from pipeline.crash_points import here
from pipeline.identity import family_of_job
from pipeline.messages.report import COMPLETED, FAILED, WorkerReport
from pipeline.topology import Topology

log = logging.getLogger(__name__)

#: Seconds between two tries to deliver a report; librdkafka itself tries for minutes within each.
RETRY_PAUSE = 1.0
#: Results up to this size (bytes) are not what a broker refuses a report for.
_SMALL = 4096
_TOO_LARGE = '{"error": "the broker refused the result", "category": "worker", "job_info": {"cut": ["all of it"]}}'


class Reporter:
    """Delivers reports to jobs.reports, in the partition of the job's family.

    Order is kept for whoever awaits one delivery before asking for the next.
    """

    def __init__(
        self, publisher: Publisher, codec: Codec, topology: Topology, retry_pause: float = RETRY_PAUSE
    ) -> None:
        self._publisher = publisher
        self._retry_pause = retry_pause
        self._codec = codec
        self._topology = topology

    async def deliver(self, report: WorkerReport, wanted: Callable[[], bool] = lambda: True) -> bool:
        """Return True once the broker has the report; False if `wanted` says, between two tries, to give up.

        However long the broker is away, it is tried again. A large result that the broker refuses is replaced: the
        attempt is then reported as failed, saying so.
        """
        while True:
            try:
                await self.send(report)
                here("worker.report-delivered")
                return True
            except DeliveryError as error:
                if error.refused and report.kind in (COMPLETED, FAILED) and len(report.result) > _SMALL:
                    log.error("job %s: result refused (%s): reported as failed", report.job_id, error)
                    report = _without_result(report)
                    continue
                log.warning("job %s: %s report not delivered yet: %s", report.job_id, report.kind, error)
            await asyncio.sleep(self._retry_pause)
            if not wanted():
                return False

    async def send(self, report: WorkerReport) -> Delivered:
        """Send a report of an attempt once; raises DeliveryError."""
        job = report.job_id or ""
        return await self.send_to(self._topology.job_partition(job), family_of_job(job), report)

    async def send_to(self, partition: int, key: str, report: WorkerReport) -> Delivered:
        """Send any report once; raises DeliveryError."""
        value = self._codec.encode("report", report.record())
        return await delivered(self._publisher, self._topology.reports, key, value, partition)


def _without_result(report: WorkerReport) -> WorkerReport:
    return WorkerReport(FAILED, report.holder, report.job_id, report.attempt, report.token, _TOO_LARGE)
