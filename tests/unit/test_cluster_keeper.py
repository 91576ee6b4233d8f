"""How long a keeper waits before it starts again what ended, and what it does where that can't be done."""

from threading import Event
from types import SimpleNamespace

import pytest

from agents.admin import TopicError
from ops.cluster.installation import ClusterError
from ops.cluster.keeper import Keeper, Patience
from ops.cluster.steps import Step, StepState
from ops.embedded.errors import EmbeddedError

PATIENCE = Patience(shortest=1, longest=10, steady=60)


def test_the_first_repair_comes_soon() -> None:
    assert PATIENCE.after(0, held=5) == 1


def test_repairs_that_do_not_hold_come_ever_less_often_up_to_a_limit() -> None:
    waits = [1.0]
    for _ in range(5):
        waits.append(PATIENCE.after(waits[-1], held=3))
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_repair_that_held_makes_the_next_one_come_soon_again() -> None:
    assert PATIENCE.after(10, held=60) == 1


@pytest.mark.parametrize(
    "error",
    [ClusterError("gate ended"), EmbeddedError("no port"), TopicError("misfit"), OSError("no broker"), OSError()],
    ids=repr,
)
def test_what_can_not_be_started_is_said_and_tried_again(error: Exception) -> None:
    stop, told = Event(), list[Step]()

    class Cluster:
        mends = 0

        def processes(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="gate", running=False)]

        def mend(self, _: object) -> bool:
            self.mends += 1
            if self.mends == 2:
                stop.set()
                return True
            raise error

    cluster = Cluster()
    assert Keeper(cluster, told.append, Patience(shortest=0, longest=0), look=0.0).run(stop)  # type: ignore[arg-type]
    assert cluster.mends == 2
    assert [one.detail for one in told if one.state is StepState.FAILED] == [str(error) or repr(error)]
