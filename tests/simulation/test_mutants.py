"""The simulation catches what it is there for: each bug that `mutants` lists is found within some worlds."""

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.oracle import ViolationError
from tests.simulation.plan import THEMES
from tests.simulation.world import plan_of, run

#: A life that a crash ends leaves its coroutines behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Worlds that a bug may get through: of one theme, from the one on that caught it when it was last looked for.
_WORLDS = 12
_LENGTH = 150


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_bug_is_caught(mutant: Mutant, record_property: pytest.FixtureRequest) -> None:
    for seed in range(mutant.seed, mutant.seed + _WORLDS * len(THEMES), len(THEMES)):
        try:
            with mutant.planted():
                run(seed, plan_of(seed, _LENGTH))
        except ViolationError as caught:
            print(f"{mutant.name}: seed {seed}: {str(caught)[:200]}")
            record_property("caught by seed", seed)  # type: ignore[operator]
            return
    pytest.fail(f"{mutant.name} ({mutant.breaks}) was not caught in {_WORLDS} worlds from seed {mutant.seed} on")
