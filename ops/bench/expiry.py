"""All families fall out of the window: tables and changelogs must become small, and jobs must not wait for that."""

import time
from typing import Any

from ops.bench import compaction
from ops.bench.changelogs import Changelogs
from ops.bench.errors import BenchError
from ops.bench.installation import say
from ops.bench.load import percentile
from ops.bench.measure import steadily
from ops.bench.orchestrators import Orchestrator
from ops.bench.probing import Prober
from pipeline.settings import Settings

#: The window is what is shortened, never the ticks: they set the pace.
_SHORT = {"window_ms": 2000, "document_ms": 1000, "tick_ms": 5000, "lease_ms": 60_000}
_PATIENCE = 36_000.0
#: Jobs between two looks at the changelogs, jobs a second, and lives that are submitted again.
_JOBS, _RATE, _AGAIN = 60, 4.0, 64

Figures = dict[str, Any]


def measure(settings: Settings, one: Orchestrator, prober: Prober) -> Figures:
    """Have the window end for all that is in the tables; return what is left, when, and how jobs fared meanwhile."""
    changelogs = Changelogs(settings)
    changelogs.look()
    again = [prober.outcomes(range(_AGAIN))]
    before = _sizes(settings, one, changelogs) | {"job_ms": _spread(_latencies(settings))}
    say(f"expiry: before: {before}")
    one.stop()
    ledger = settings.ledger.model_copy(update=_SHORT)
    shorter = Orchestrator(settings.model_copy(update={"ledger": ledger}), one.home.name)
    begun = time.monotonic()
    shorter.start()
    try:
        shorter.await_line("owns partitions")
        seconds, latencies = _until_forgotten(settings, changelogs, begun)
        after = _sizes(settings, shorter, changelogs) | {"cpu_s": shorter.cpu_seconds()}
        say(f"expiry: after: {after}")
        again.append(prober.outcomes(range(_AGAIN)))
        compaction.compact(settings, lambda: prober.seconds_until_accepted(time.monotonic()))
        compacted = compaction.state(settings) | {"table_mib": shorter.table_bytes() >> 20}
    finally:
        shorter.stop()
    return {
        "seconds": seconds,
        "before": before,
        "after": after | {"job_ms": _spread(latencies)},
        "compacted": compacted,
        "again": again,
    }


def _until_forgotten(settings: Settings, changelogs: Changelogs, begun: float) -> tuple[float, list[int]]:
    """Run jobs until next to nothing is left but these; return the seconds and the jobs' latencies (ms)."""
    latencies: list[int] = []
    while True:
        latencies += _latencies(settings)
        left, seconds = changelogs.look(), round(time.monotonic() - begun, 1)
        say(f"expiry: {left} rows are left after {seconds} s; jobs: {_spread(latencies)}")
        # the jobs' own rows, of which each look finds new ones
        if left < 10 * _JOBS:
            return seconds, latencies
        if seconds > _PATIENCE:
            raise BenchError(f"{left} rows are left after {_PATIENCE:.0f} s")


def _latencies(settings: Settings) -> list[int]:
    lives = steadily(settings, _JOBS, _RATE, say)
    return lives.latencies(lives.completed)


def _spread(latencies: list[int]) -> Figures:
    ordered = sorted(latencies)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {"jobs": len(ordered)} | {name: percentile(ordered, share) for name, share in shares.items()}


def _sizes(settings: Settings, one: Orchestrator, changelogs: Changelogs) -> Figures:
    return {
        "rows": changelogs.rows,
        "records": changelogs.records,
        "changelogs_mib": compaction.size(settings) >> 20,
        "table_mib": one.table_bytes() >> 20,
    }
