"""`python -m ops.bench`: the whole path with jobs that run nothing; the last line is JSON."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from ops.bench.errors import BenchError
from ops.bench.installation import say, settings_of, tell
from ops.bench.measure import burst, latency, throughput
from ops.bench.profile import Profile
from ops.cluster.file import Plan
from ops.cluster.installation import Cluster, ClusterError
from ops.embedded.errors import EmbeddedError

_WARM_UP = 1000
_PROFILE_SECONDS = 10
_PROFILED = 1500
_BURST_SLOTS = 8
_BURST_DURATION = 0.2
_BURST_WINDOW = 60.0


@dataclass(frozen=True, slots=True)
class Measurements:
    """What is measured: numbers of jobs, jobs a second, seconds, slots of the worker."""

    jobs: int
    rate: float
    seconds: int
    slots: int
    burst: int
    profile: bool


def main(
    jobs: Annotated[int, typer.Option(min=10, help="Jobs of the throughput run.")] = 5000,
    rate: Annotated[float, typer.Option(min=1, help="Jobs a second of the latency run.")] = 35,
    seconds: Annotated[int, typer.Option(min=1, help="Seconds of the latency run.")] = 30,
    slots: Annotated[int, typer.Option(min=1, help="Slots of the worker.")] = 32,
    burst_of: Annotated[int, typer.Option("--burst", min=0, help="Jobs of 0.2 s at once for 8 slots; 0: none.")] = 0,
    profile: Annotated[bool, typer.Option(help="Show where the orchestrator's time goes.")] = True,
    home: Annotated[Path, typer.Option(help="Emptied first.")] = Path(".jobstream/bench"),
) -> None:
    """Measure throughput, latency and memory of an installation of its own, all servers included.

    \b
    Examples:
      make bench
      python -m ops.bench --jobs 20000 --burst 20000
    """
    shutil.rmtree(home, ignore_errors=True)
    settings = settings_of(home, slots)
    cluster = Cluster(settings, Plan(workers=1, engine="noop"))
    try:
        cluster.up(tell)
        figures = _run(cluster, Measurements(jobs, rate, seconds, slots, burst_of, profile))
    except (BenchError, ClusterError, EmbeddedError) as error:
        sys.exit(f"bench: {error}")
    finally:
        cluster.down(tell, timeout=20.0)
    print(json.dumps(figures))


def _run(cluster: Cluster, plan: Measurements) -> dict[str, Any]:
    settings = cluster.settings
    say(f"warming up: {_WARM_UP} jobs")
    throughput(settings, _WARM_UP, say)
    # before the throughput, which leaves the index behind, and that takes time from the others until it has caught up
    say(f"latency: {plan.rate:g} jobs a second for {plan.seconds} s")
    delays = latency(settings, int(plan.rate * plan.seconds), plan.rate, say)
    before = _cpu(cluster)
    say(f"throughput: {plan.jobs} jobs at once, {plan.slots} slots")
    figures = throughput(settings, plan.jobs, say) | delays
    say(f"CPU in it (s): {_spent(before, _cpu(cluster))}")
    figures["rss_mib"] = {one.kind: one.memory >> 20 for one in cluster.processes() if one.kind != "server"}
    if plan.profile:
        _profile(cluster)
    if plan.burst:
        figures["burst"] = _burst(cluster, plan.burst)
    return figures


def _profile(cluster: Cluster) -> None:
    """Show where the orchestrator's time goes, in a run of its own: sampling slows what it looks at."""
    say(f"profile: {_PROFILED} jobs at once")
    pid = cluster.pid("orchestrator")
    if pid is None:
        raise BenchError("the orchestrator does not run")
    sampled = Profile(pid, _PROFILE_SECONDS, cluster.home / "profile.txt")
    throughput(cluster.settings, _PROFILED, say)
    print("\n".join(sampled.lines()))


def _burst(cluster: Cluster, jobs: int) -> dict[str, Any]:
    say(f"burst: {jobs} jobs of {_BURST_DURATION:g} s at once, {_BURST_SLOTS} slots")
    given = cluster.settings
    worker = given.worker.model_copy(update={"slots": _BURST_SLOTS})
    fewer = Cluster(given.model_copy(update={"worker": worker}), cluster.plan)
    fewer.restart("worker-1")
    return burst(fewer.settings, jobs, _BURST_SLOTS, _BURST_DURATION, _BURST_WINDOW, say)


def _cpu(cluster: Cluster) -> dict[str, float]:
    spent = {}
    for name in cluster.names:
        pid = cluster.pid(name)
        if pid is not None:
            times = psutil.Process(pid).cpu_times()
            spent[name] = times.user + times.system
    return spent


def _spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: round(after[name] - before.get(name, 0.0), 1) for name in after}


if __name__ == "__main__":
    typer.run(main)
