"""What the changelogs take before and after the broker has compacted them."""

import time
from collections.abc import Callable
from typing import Any

from agents.admin import apply
from ops.bench.altering import alter
from ops.bench.changelogs import Changelogs
from ops.bench.errors import BenchError
from ops.bench.installation import say
from ops.bench.orchestrators import Orchestrator, size_of
from ops.bench.probing import Prober
from pipeline.settings import Settings

#: The lags that an operator waits hours for, in seconds; the cleaner looks every 15 s.
_SOON = {
    "min.compaction.lag.ms": "0",
    "segment.ms": "5000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "1000",
}
_PATIENCE, _LOOK = 1800.0, 10.0


def measure(settings: Settings, one: Orchestrator, prober: Prober) -> dict[str, Any]:
    """Have the changelogs compacted soon; return their state before and after, and a rebuild from what is left."""
    before = state(settings)
    compact(settings, lambda: prober.seconds_until_accepted(time.monotonic()))
    after = state(settings)
    one.stop()
    one.lose_disk()
    begun = one.start()
    _, slowest = prober.seconds_until_accepted(begun)
    read = one.await_line("read the changelogs")
    rebuilt = {"seconds": slowest, "records": read["records"], "reading_s": read["seconds"], "cpu_s": one.cpu_seconds()}
    return {"before": before, "after": after, "rebuilt": rebuilt, "table_mib": one.table_bytes() >> 20}


def compact(settings: Settings, write: Callable[[], object]) -> None:
    """Let the broker compact the changelogs, until they get no smaller; `write` has each partition written to.

    A segment is compacted once it is closed, and it is closed by a write after its time.
    """
    topics = [topic.name for topic in settings.topology.changelogs()]
    alter(settings, dict.fromkeys(topics, _SOON))
    deadline = time.monotonic() + _PATIENCE
    least, same = size(settings), 0
    while same < 6:
        time.sleep(_LOOK)
        write()
        now = size(settings)
        same = same + 1 if now > 0.98 * least else 0
        if now <= 0.98 * least:
            say(f"changelogs: {now >> 20} MiB")
        least = min(least, now)
        if time.monotonic() > deadline:
            raise BenchError(f"the changelogs still shrank after {_PATIENCE:.0f} s")
    apply(settings)


def state(settings: Settings) -> dict[str, Any]:
    """Return what the changelogs take, and by table how many records they hold and how many rows these leave."""
    changelogs = Changelogs(settings)
    changelogs.look()
    return {"mib": round(size(settings) / 2**20, 1), "records": changelogs.records, "rows": changelogs.rows}


def size(settings: Settings) -> int:
    """Return how many bytes the changelogs take."""
    names = {topic.name for topic in settings.topology.changelogs()}
    folders = (settings.home / "kafka").rglob("*-changelog-*")
    ours = [folder for folder in folders if folder.is_dir() and folder.name.rpartition("-")[0] in names]
    # without the indexes, which are made large ahead of what is in them
    return sum(size_of(folder, "*.log") for folder in ours)
