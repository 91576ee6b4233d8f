"""Work that runs nothing and touches no file: what the control path costs can be measured with it."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.containers.stop import Level, Stop

#: The parameter that says how many seconds an attempt lasts.
DURATION = "duration"


class NoWork:
    """Each attempt succeeds at once, or after `duration` seconds of its parameters, unless it is stopped before."""

    async def reap(self) -> list[tuple[str, int]]:
        """Return none: nothing outlives the worker."""
        return []

    async def run(self, assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
        """See Work."""
        started({})
        duration = _duration(assignment.document.get("params"))
        if duration is None:
            return WorkResult(False, {"error": f"{DURATION} isn't a number of seconds", "category": "exit"})
        if duration > 0:
            try:
                await asyncio.wait_for(stop.beyond(Level.NONE), duration)
            except TimeoutError:
                pass
            else:
                return WorkResult(False, {"error": "stopped", "category": "exit", "job_info": {"status": 143}})
        return WorkResult(True, {"job_info": {"status": 0}})

    async def close(self) -> None:
        """See Work."""


def _duration(params: Any) -> float | None:
    given = params.get(DURATION, 0) if isinstance(params, Mapping) else 0
    try:
        duration = float(given)
    except (TypeError, ValueError):
        return None
    return duration if math.isfinite(duration) and duration >= 0 else None
