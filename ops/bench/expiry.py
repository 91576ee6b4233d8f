"""All families fall out of the window: tables and changelogs must become small."""

import time
from typing import Any

from ops.bench.compaction import compact, state
from ops.bench.errors import BenchError
from ops.bench.installation import say
from ops.bench.orchestrators import Orchestrator
from ops.bench.probing import Prober
from pipeline.settings import Settings

_SHORT = {"window_ms": 2000, "document_ms": 1000, "tick_ms": 100}
_PATIENCE, _LOOK = 36_000.0, 15.0


def measure(settings: Settings, one: Orchestrator, prober: Prober) -> dict[str, Any]:
    """Have the window end for all that is in the tables; return what is left of tables and changelogs, and when."""
    before = {"table_mib": one.table_bytes() >> 20}
    one.stop()
    ledger = settings.ledger.model_copy(update=_SHORT)
    shorter = Orchestrator(settings.model_copy(update={"ledger": ledger}), one.home.name)
    begun = time.monotonic()
    shorter.start()
    shorter.await_line("owns partitions")
    try:
        rows = _until_forgotten(settings, begun)
        seconds = round(time.monotonic() - begun, 1)
        compact(settings, lambda: prober.seconds_until_accepted(time.monotonic()))
        after = state(settings)
    finally:
        shorter.stop()
    return {
        "seconds": seconds,
        "rows_left": rows,
        "changelogs": after,
        "before": before,
        "table_mib": one.table_bytes() >> 20,
    }


def _until_forgotten(settings: Settings, begun: float) -> int:
    while True:
        rows = int(sum(state(settings)["rows"].values()))
        if rows == 0:
            return rows
        if time.monotonic() - begun > _PATIENCE:
            raise BenchError(f"{rows} rows are left after {_PATIENCE:.0f} s")
        say(f"expiry: {rows} rows are left")
        time.sleep(_LOOK)
