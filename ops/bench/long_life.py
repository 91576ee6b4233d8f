"""`python -m ops.bench.long_life`: a full table, orchestrators that die, and logs that must stay small."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from agents.admin import apply
from ops.bench import compaction, expiry, upgrade
from ops.bench.errors import BenchError
from ops.bench.filling import fill, inbox_lengths
from ops.bench.installation import say, settings_of, tell
from ops.bench.orchestrators import Orchestrator, orchestrators
from ops.bench.probing import Prober
from ops.cluster.file import Plan
from ops.cluster.installation import Cluster, ClusterError
from ops.embedded.errors import EmbeddedError
from pipeline.settings import Settings

#: s: what each may take.
LIMITS = {"disk": 180.0, "only": 20.0, "one_of_two": 15.0}
PARTS = ("disk", "only", "two", "compaction", "upgrade", "expiry")
_SLOTS = 16
#: Leases are short, so that one that was not renewed in time would be seen.
_LEDGER = {"lease_ms": 6000, "tick_ms": 500}
_WORKER = {"slots": _SLOTS, "heartbeat_ms": 1500, "status_ms": 1000}

Figures = dict[str, Any]


def main(
    families: Annotated[int, typer.Option(min=100, help="Families in the table, each with a completed job.")] = (
        1_000_000
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Kills of each kind.")] = 3,
    parts: Annotated[str, typer.Option(help="What is measured, commas between.")] = ",".join(PARTS),
    keep: Annotated[bool, typer.Option("--keep", help="Take a home that was filled before, and leave it.")] = False,
    check: Annotated[bool, typer.Option(help="Exit code 1 where a figure is above its limit.")] = False,
    home: Annotated[Path, typer.Option(help="Of the installation; emptied first, but for --keep.")] = Path(
        ".jobstream/bench-long-life"
    ),
) -> None:
    """Measure how an installation with a large table lives through kills, lost disks, upgrades and time.

    The table is filled without running jobs: messages and rows are written in bulk, and the orchestrator's own code
    says of the first that they are what it would have written. Everything after that is real: broker, gate, scheduler,
    worker and orchestrators are processes. The parts:

    \b
      disk        an orchestrator without its disk: to the first fact of each inbox partition
      only        kill -9 of the only orchestrator, which is started again at once
      two         kill -9 of one of two, which the other stands by for
      compaction  what the changelogs take before and after the broker has compacted them
      upgrade     two orchestrators restarted one after the other, under jobs with short leases
      expiry      all families fall out of the window, and jobs run meanwhile (a quarter of an hour for a million)

    A fail-over ends with the first fact about a job that was submitted after the kill. The last line is JSON.

    \b
    Examples:
      make bench-long-life
      python -m ops.bench.long_life --families 20000 --rounds 1 --parts disk,only,two
    """
    wanted = parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"bench: no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not keep:
        shutil.rmtree(home, ignore_errors=True)
    plan = Plan(workers=1, engine="noop", elasticsearch=False, sink=False)
    cluster = Cluster(_settings(home), plan)
    figures: Figures = {"families": families, "cpus": os.cpu_count()}
    try:
        _fill(cluster, families, figures)
        for name in ("gate", "scheduler", "worker-1"):
            cluster.start(name, tell)
        _measure(cluster.settings, wanted, rounds, figures)
    except (BenchError, ClusterError, EmbeddedError) as error:
        sys.exit(f"bench: {error}")
    finally:
        cluster.down(tell, timeout=20.0)
    _show(figures)
    print(json.dumps(figures), flush=True)
    if check and (found := problems(figures)):
        sys.exit("bench-long-life: " + "; ".join(found))


def problems(figures: Figures) -> list[str]:
    """Return a sentence for each figure that is above its limit; what was not measured is none."""
    return [
        f"{name}: {figures[name]['slowest']} s, at most {limit:g}"
        for name, limit in LIMITS.items()
        if name in figures and figures[name]["slowest"] >= limit
    ]


def _settings(home: Path) -> Settings:
    given = settings_of(home, _SLOTS)
    sections = {
        "ledger": given.ledger.model_copy(update=_LEDGER),
        "worker": given.worker.model_copy(update=_WORKER),
        # of several homes, one key
        "token_key": SecretStr("bench"),
    }
    return given.model_copy(update=sections)


def _fill(cluster: Cluster, families: int, figures: Figures) -> None:
    cluster.start("kafka", tell)
    apply(cluster.settings)
    if any(inbox_lengths(cluster.settings).values()):
        say("the inbox is filled already")
        return
    say(f"filling: {families} families")
    filled = fill(cluster.settings, families)
    figures["filling"] = {"seconds": filled.seconds, "messages": filled.messages, "rows": filled.rows}
    say(f"filled in {filled.seconds} s: {filled.messages} messages, {filled.rows} rows")


def _measure(settings: Settings, wanted: list[str], rounds: int, figures: Figures) -> None:
    with orchestrators(settings, ("a", "b")) as (one, two), Prober(settings) as prober:
        if "disk" not in wanted:
            prober.seconds_until_accepted(one.start())
        part = _Parts(wanted, figures)
        part("disk", lambda: _lost_disk(one, prober))
        part("only", lambda: _kills(rounds, lambda: _kill_only(one, prober)))
        part("two", lambda: _one_of_two(one, two, prober, rounds), "one_of_two")
        part("compaction", lambda: compaction.measure(settings, one, prober))
        part("upgrade", lambda: upgrade.measure(settings, one, two, _SLOTS))
        part("expiry", lambda: expiry.measure(settings, one, prober))


class _Parts:
    """Runs the parts that are wanted, and notes each one's figures with the machine's load."""

    def __init__(self, wanted: list[str], figures: Figures) -> None:
        self._wanted = wanted
        self._figures = figures

    def __call__(self, name: str, measure: Callable[[], Figures], title: str = "") -> None:
        if name not in self._wanted:
            return
        say(f"measuring: {name}")
        before = round(os.getloadavg()[0], 1)
        self._figures[title or name] = measure() | {"load": [before, round(os.getloadavg()[0], 1)]}
        say(f"{title or name}: {self._figures[title or name]}")


def _lost_disk(one: Orchestrator, prober: Prober) -> Figures:
    one.stop()
    one.lose_disk()
    begun = one.start()
    first, slowest = prober.seconds_until_accepted(begun)
    read = one.await_line("read the changelogs")
    return {
        "first": first,
        "slowest": slowest,
        "records": read["records"],
        "reading_s": read["seconds"],
        "cpu_s": one.cpu_seconds(),
        "table_mib": one.table_bytes() >> 20,
    }


def _kill_only(one: Orchestrator, prober: Prober) -> tuple[float, float]:
    killed = one.kill()
    one.start()
    return prober.seconds_until_accepted(killed)


def _one_of_two(one: Orchestrator, two: Orchestrator, prober: Prober, rounds: int) -> Figures:
    def stand_by(joining: Orchestrator, other: Orchestrator) -> None:
        joining.start()
        for each in (joining, other):
            each.await_line("stands by")
        prober.seconds_until_accepted(time.monotonic())

    turns = [(one, two), (two, one)]

    def kill() -> tuple[float, float]:
        dying, other = turns[0]
        killed = dying.kill()
        seconds = prober.seconds_until_accepted(killed)
        turns.reverse()
        stand_by(dying, other)
        return seconds

    begun = time.monotonic()
    stand_by(two, one)
    joined = round(time.monotonic() - begun, 1)
    figures = _kills(rounds, kill) | {"joined_s": joined}
    two.stop()
    # its partitions move when its session has ended
    prober.seconds_until_accepted(time.monotonic())
    return figures


def _kills(rounds: int, kill: Callable[[], tuple[float, float]]) -> Figures:
    seconds = [kill() for _ in range(rounds)]
    return {
        "rounds": rounds,
        "first": [first for first, _ in seconds],
        "all_partitions": [slowest for _, slowest in seconds],
        "slowest": max(slowest for _, slowest in seconds),
    }


def _show(figures: Figures) -> None:
    for name, value in figures.items():
        limit = f"  (at most {LIMITS[name]:g} s)" if name in LIMITS else ""
        told = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        print(f"{name:<12}  {told}{limit}")


if __name__ == "__main__":
    typer.run(main)
