"""Whose products nobody will ever be told of: asked where a place is taken (spec §4.5, decision 011)."""

import logging

from pipeline.datasets.marker import Marker
from pipeline.settings import Settings
from pipeline.statuses import Status

log = logging.getLogger(__name__)

#: Nothing of such a job's products is or will be in the index, unless a retry makes another attempt.
_ENDED_WITHOUT = frozenset({Status.FAILED, Status.REVOKED})


class Orphans:
    """Asks the index, which follows the ledger; what it can't tell for sure is no orphan."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, marker: Marker) -> bool:
        """Whether the attempt's job ended without its products, and the index has none of it. Never raises."""
        # only a collision needs Elasticsearch's client
        from agents.index_reader import IndexReader, IndexUnavailableError

        try:
            with IndexReader(self._settings) as reader:
                job = reader.get(marker.job_id, fresh=True)
                if job is None or job.get("status") not in _ENDED_WITHOUT or job.get("attempt", 0) < marker.attempt:
                    return False
                orphan = not reader.datasets(job_id=marker.job_id, limit=1, fresh=True)
        except IndexUnavailableError as error:
            log.warning("products of job %s are taken for published: %s", marker.job_id, error)
            return False
        if orphan:
            log.warning("orphaned_dataset-job_failed: job %s, attempt %d", marker.job_id, marker.attempt)
        return orphan
