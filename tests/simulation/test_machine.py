"""The same operations as hypothesis chooses them, which shrinks what fails to the few that it takes."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulation.plan import KINDS
from tests.simulation.world import World, simulated

#: A life that a crash ends leaves its coroutines behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_OPERATIONS = st.tuples(st.sampled_from(sorted(KINDS)), st.randoms(use_true_random=False)).map(
    lambda drawn: (drawn[0], KINDS[drawn[0]](drawn[1]))
)


class Machine(RuleBasedStateMachine):
    """A world whose operations hypothesis chooses; each step's invariants are checked in it, the rest at its end."""

    world: World | None = None

    @initialize(seed=st.integers(0, 1 << 20))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.planted = simulated(self.world)
        self.planted.__enter__()

    @rule(operation=_OPERATIONS, ms=st.sampled_from([3, 100, 2000, 20_000]))
    def operate(self, operation: tuple[str, tuple[Any, ...]], ms: int) -> None:
        assert self.world is not None
        self.world.do(operation)
        self.world.op_run(ms)

    @rule(hash_=st.integers(0, 3), number=st.integers(0, 9), ms=st.sampled_from([3, 100, 2000]))
    def submit(self, hash_: int, number: int, ms: int) -> None:
        assert self.world is not None
        self.world.op_submit(hash_, number, 1, True, 0)
        self.world.op_run(ms)

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self.world.settle()
        finally:
            self.planted.__exit__(None, None, None)


#: Shrinking takes five minutes: the whole check tells the steps as they were drawn, for somebody to repeat.
_PHASES = (Phase.generate,) if "CI" in os.environ else (Phase.generate, Phase.shrink)

TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=_PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
