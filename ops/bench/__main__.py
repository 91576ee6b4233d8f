"""`python -m ops.bench`: the whole path with jobs that run nothing; the last line is JSON."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from ops.bench.measure import BenchError, burst, latency, throughput
from ops.bench.profile import Profile
from ops.cluster.file import Plan
from ops.cluster.installation import Cluster, ClusterError
from ops.cluster.steps import Step, StepState
from ops.embedded.errors import EmbeddedError
from pipeline.settings import Settings

_PROFILE_SECONDS = 10


def main(
    jobs: Annotated[int, typer.Option(min=10, help="Jobs of the throughput run.")] = 5000,
    rate: Annotated[float, typer.Option(min=1, help="Jobs a second of the latency run.")] = 35,
    seconds: Annotated[int, typer.Option(min=1, help="Seconds of the latency run.")] = 30,
    slots: Annotated[int, typer.Option(min=1, help="Slots of the worker.")] = 8,
    burst_of: Annotated[int, typer.Option("--burst", min=0, help="Jobs of 0.2 s at once; 0 leaves it out.")] = 0,
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
    settings = _settings(home, slots)
    cluster = Cluster(settings, Plan(workers=1, engine="noop"))
    try:
        cluster.up(_tell)
        figures = _run(cluster, jobs, rate, seconds, slots, burst_of, profile)
    except (BenchError, ClusterError, EmbeddedError) as error:
        sys.exit(f"bench: {error}")
    finally:
        cluster.down(_tell, timeout=20.0)
    print(json.dumps(figures))


def _settings(home: Path, slots: int) -> Settings:
    given = Settings()
    ports = dict.fromkeys(("kafka_port", "controller_port", "elasticsearch_port", "transport_port"), 0)
    return given.model_copy(
        update={
            "home": home.resolve(),
            "embedded": given.embedded.model_copy(update=ports),
            "worker": given.worker.model_copy(update={"slots": slots}),
        }
    )


def _run(
    cluster: Cluster, jobs: int, rate: float, seconds: int, slots: int, burst_of: int, profile: bool
) -> dict[str, Any]:
    settings = cluster.settings
    _say("warming up: 500 jobs")
    throughput(settings, 500, _say)
    before = _cpu(cluster)
    _say(f"throughput: {jobs} jobs at once, {slots} slots")
    pid = cluster.pid("orchestrator")
    sampled = Profile(pid, _PROFILE_SECONDS, settings.home / "profile.txt") if profile and pid else None
    figures = throughput(settings, jobs, _say)
    if sampled:
        print("\n".join(sampled.lines()))
    _say(f"CPU in it (s): {_spent(before, _cpu(cluster))}")
    _say(f"latency: {rate:g} jobs a second for {seconds} s")
    figures |= latency(settings, int(rate * seconds), rate, _say)
    figures["rss_mib"] = {one.kind: one.memory >> 20 for one in cluster.processes() if one.kind != "server"}
    if burst_of:
        _say(f"burst: {burst_of} jobs of 0.2 s, {slots} slots")
        figures["burst"] = burst(settings, burst_of, slots, 0.2, 60.0, _say)
    return figures


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


def _tell(step: Step) -> None:
    if step.state is not StepState.BEGUN:
        _say(f"{step.name}: {step.state} {step.detail} ({step.seconds:.1f} s)")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    typer.run(main)
