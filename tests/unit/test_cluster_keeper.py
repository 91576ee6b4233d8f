"""How long a keeper waits before it starts again what ended."""

from ops.cluster.keeper import Patience

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
