"""Some worlds of the simulation, the same each time, and that one seed is one run. `make simulate` runs many more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plan import THEMES
from tests.simulation.world import World, plan_of, run

#: A life that a crash ends leaves its coroutines behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("seed", range(2 * len(THEMES)))
def test_everything_that_was_accepted_ends_and_nothing_that_must_hold_is_broken(seed: int) -> None:
    world = run(seed, plan_of(seed, 90))
    assert world.watch.folded > len(world.accepted)


def test_a_world_whose_records_are_encoded_as_in_earnest_is_well() -> None:
    run(16, plan_of(16, 60), avro=True)


def test_an_empty_plan_ends_at_once() -> None:
    assert run(0, []).accepted == {}


def test_one_seed_is_one_run_whatever_texts_hash_to() -> None:
    said = "from tests.simulation.test_worlds import digest; print(digest(1))"
    other = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", said],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == str(digest(1))


def digest(seed: int) -> list[tuple[str, int, bytes]]:
    """Return where each record of the inbox and of the changelogs came to lie."""
    world: World = run(seed, plan_of(seed, 25))
    names = [world.topology.inbox, world.topology.events, *world.topology.changelogs()]
    return [
        (topic.name, entry.time, entry.key)
        for topic in names
        for log in world.bus.topics[topic.name]
        for entry in log.entries
        if entry is not None
    ]
