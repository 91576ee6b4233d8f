"""Runs worlds until the time is over: `python -m tests.simulation --seconds 600 --seed 0 --jobs 2`.

Prints each world's seed, messages and virtual time; what fails is shrunk, and shown with the command that repeats it.
Exit code 1 where anything failed.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.shrink import failure, shrunk
from tests.simulation.world import START, plan_of, run

#: Of so many worlds one has its records encoded as in earnest; the others save the time.
AVRO_EVERY = 7


@dataclass(frozen=True)
class Outcome:
    """What became of a world."""

    seed: int
    messages: int = 0
    folds: int = 0
    jobs: int = 0
    virtual: int = 0
    wall: float = 0.0
    failure: str = ""
    kept: tuple[int, ...] = ()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _options(arguments)
    if options.only is not None:
        return _repeat(options)
    begun = time.monotonic()
    print(f"worlds from seed {options.seed} on, {options.length} operations each, {options.jobs} at a time", flush=True)
    failed: list[Outcome] = []
    worlds = messages = folds = virtual = 0
    for outcome in _outcomes(options, begun + options.seconds):
        worlds += 1
        messages, folds, virtual = messages + outcome.messages, folds + outcome.folds, virtual + outcome.virtual
        _tell(outcome, options.length)
        if outcome.failure:
            failed.append(outcome)
            if len(failed) >= options.failures:
                break
    wall = time.monotonic() - begun
    rate = folds / wall / options.jobs
    print(
        f"{worlds} worlds, {messages} inbox messages, {folds} folds of a core ({rate:.0f} a second and process), "
        f"{virtual / 3600:.1f} hours of virtual time in {wall:.0f} s; {len(failed)} failed"
    )
    return 1 if failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long to begin new worlds (60)")
    parser.add_argument("--seed", type=int, default=0, help="the first world's seed (0); the others follow")
    parser.add_argument("--jobs", type=int, default=1, help="worlds at a time, each in a process of its own (1)")
    parser.add_argument("--length", type=int, default=150, help="operations of a world (150)")
    parser.add_argument("--worlds", type=int, default=1 << 40, help="end after so many worlds")
    parser.add_argument("--failures", type=int, default=3, help="end after so many failures (3)")
    parser.add_argument("--only", help="repeat one world with these operations alone: 3,5,9, or 'all'")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or options.length < 1:
        parser.error("--jobs and --length are at least 1")
    return options


def _outcomes(options: argparse.Namespace, deadline: float) -> Iterator[Outcome]:
    def seeds() -> Iterator[tuple[int, int]]:
        for seed in range(options.seed, options.seed + options.worlds):
            if time.monotonic() > deadline:
                return
            yield seed, options.length

    if options.jobs == 1:
        yield from map(world, seeds())
        return
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        pending = []
        for one in seeds():
            pending.append(pool.apply_async(world, (one,)))
            while len(pending) >= 2 * options.jobs:
                yield pending.pop(0).get()
        for left in pending:
            yield left.get()


def world(asked: tuple[int, int]) -> Outcome:
    """Run one world, and shrink it where it fails."""
    seed, length = asked
    plan = plan_of(seed, length)
    avro = seed % AVRO_EVERY == 0
    begun = time.monotonic()
    gc.disable()
    try:
        done = run(seed, plan, avro)
    except Exception:
        gc.enable()
        kept, said = shrunk(plan, lambda left: failure(seed, left, avro))
        return Outcome(seed, failure=said, kept=tuple(kept))
    finally:
        gc.enable()
    virtual = (done.timeline.now - START) // 1000
    return Outcome(seed, done.watch.folded, done.folds, len(done.accepted), virtual, time.monotonic() - begun)


def _tell(outcome: Outcome, length: int) -> None:
    if not outcome.failure:
        print(
            f"seed {outcome.seed}: {outcome.jobs} jobs, {outcome.messages} inbox messages, {outcome.folds} folds, "
            f"{outcome.virtual} s virtual in {outcome.wall:.2f} s",
            flush=True,
        )
        return
    print(f"seed {outcome.seed} FAILED: {outcome.failure[:1500]}")
    plan = plan_of(outcome.seed, length)
    for index in outcome.kept:
        name, arguments = plan[index]
        print(f"  {index}: {name}{arguments}")
    only = ",".join(map(str, outcome.kept)) or "none"
    print(f"  again: python -m tests.simulation --seed {outcome.seed} --length {length} --only {only}", flush=True)


def _repeat(options: argparse.Namespace) -> int:
    plan = plan_of(options.seed, options.length)
    if options.only != "all":
        wanted = [] if options.only == "none" else [int(index) for index in options.only.split(",")]
        plan = [plan[index] for index in wanted]
    for name, arguments in plan:
        print(f"  {name}{arguments}")
    said = failure(options.seed, plan, options.seed % AVRO_EVERY == 0)
    print(said or "nothing is wrong with this world")
    return 1 if said else 0


def _with_fixed_hashes() -> None:
    """Begin anew where texts have other hashes in each process: the order of a set may matter."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})


if __name__ == "__main__":
    _with_fixed_hashes()
    sys.exit(main())
