"""`python -m ops.bench.worker`: what a worker adds to its jobs, and how busy it keeps its slots."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.bench import overhead, slot_use
from ops.bench.errors import BenchError
from ops.bench.installation import say, settings_of, tell
from ops.cluster.file import Plan
from ops.cluster.installation import Cluster, ClusterError
from ops.embedded.errors import EmbeddedError

#: What a no-op in Docker may cost, as a multiple of the same container through the SDK; the least use of slots.
MOST_OVERHEAD, LEAST_USE = 1.15, 0.97


def main(
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of the overhead; each runs 3 containers.")] = 40,
    jobs: Annotated[int, typer.Option(min=0, help="Jobs of the slots' use, an engine; 0: not measured.")] = 80,
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds that each of them sleeps.")] = 1.0,
    slots: Annotated[int, typer.Option(min=1, help="Slots of the worker.")] = 4,
    engines: Annotated[str, typer.Option(help="Engines whose slots' use is measured, commas between.")] = (
        "process,docker"
    ),
    check: Annotated[
        bool,
        typer.Option(help=f"Fail above {MOST_OVERHEAD} × the SDK's median, or below {LEAST_USE:.0%} of use."),
    ] = False,
    home: Annotated[Path, typer.Option(help="Of the installation; emptied first.")] = Path(".jobstream/bench-worker"),
) -> None:
    """Measure what an attempt adds to a container that does nothing, and how busy a worker keeps its slots.

    The overhead compares, in turns, one hardened container through the Docker SDK (create, attach, start, collect,
    wait, remove), through our engine, and in a whole attempt. The slots' use is the time in which commands ran, a
    container's start included, of all time; it is measured on an installation of its own, with gate, orchestrator,
    scheduler and worker. What needs Docker is left out, saying so, where no engine answers. The last line is JSON;
    ratios are what counts on a machine with other load.

    \b
    Examples:
      make bench-worker
      python -m ops.bench.worker --rounds 100 --jobs 0
      python -m ops.bench.worker --engines process --jobs 200 --check
    """
    figures: dict[str, Any] = {"load_before": _load()}
    absent = ""
    try:
        say(f"overhead: {rounds} rounds of a container that does nothing")
        figures["overhead"] = overhead.measure(rounds, say)
    except BenchError as error:
        absent = str(error)
        figures["overhead"] = None
        say(f"overhead is not measured: {absent}")
    figures["slot_use"] = {}
    for engine in engines.split(",") if jobs else ():
        if engine == "docker" and absent:
            say("slots' use with docker is not measured either")
            continue
        figures["slot_use"][engine] = _slot_use(home, engine, slots, jobs, seconds)
    figures["load_after"] = _load()
    print(json.dumps(figures), flush=True)
    if check and (said := problems(figures)):
        sys.exit("bench-worker: " + "; ".join(said))


def problems(figures: dict[str, Any]) -> list[str]:
    """Return a sentence for each figure that is not as it should be; what was not measured is none."""
    found = []
    ratio = (figures.get("overhead") or {}).get("attempt_ratio", 0.0)
    if ratio > MOST_OVERHEAD:
        found.append(f"an attempt takes {ratio} × what the SDK takes; at most {MOST_OVERHEAD}")
    for engine, use in figures.get("slot_use", {}).items():
        if use["use"] < LEAST_USE:
            found.append(f"slots are used by {use['use']:.1%} with {engine}; at least {LEAST_USE:.0%}")
    return found


def _slot_use(home: Path, engine: str, slots: int, jobs: int, seconds: float) -> dict[str, Any]:
    shutil.rmtree(home, ignore_errors=True)
    cluster = Cluster(settings_of(home, slots), Plan(workers=1, engine=engine, elasticsearch=False, sink=False))
    options = {"container_image_name": overhead.IMAGE} if engine == "docker" else {}
    try:
        cluster.up(tell)
        return slot_use.measure(cluster, slots, jobs, seconds, options, say)
    except (BenchError, ClusterError, EmbeddedError) as error:
        sys.exit(f"bench-worker: {engine}: {error}")
    finally:
        cluster.down(tell, timeout=20.0)


def _load() -> float:
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    typer.run(main)
