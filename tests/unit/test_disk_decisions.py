from pathlib import Path

import pytest

from pipeline.disk.account import Account, promised
from pipeline.disk.order import Finished, clean, in_order


@pytest.mark.parametrize(
    ("free", "promises", "need", "missing"),
    [
        (1000, 0, 0, 0),
        (100, 0, 0, 0),
        (99, 0, 0, 1),
        (400, 0, 300, 0),
        (400, 0, 301, 1),
        (400, 200, 300, 200),
        (0, 0, 0, 100),
    ],
)
def test_a_job_needs_its_own_beside_what_others_reserved_and_what_has_to_stay_free(
    free: int, promises: int, need: int, missing: int
) -> None:
    assert Account(capacity=1000, free=free, promised=promises).missing(need, 10) == missing


def test_what_a_job_wrote_of_its_reservation_is_not_promised_any_more() -> None:
    assert (promised(100, 0), promised(100, 30), promised(100, 300)) == (100, 70, 0)


def test_succeeded_attempts_go_before_others_the_oldest_first() -> None:
    found = [Finished(Path(name), name.islower()) for name in ("a", "B", "c", "D")]
    assert [str(path) for path in in_order(lambda: found)] == ["a", "c", "B", "D"]


def test_no_more_goes_than_has_to() -> None:
    lacking, removed = [250], []

    def remove(path: Path) -> None:
        removed.append(path)
        lacking[0] -= 100

    candidates = iter([Path(str(number)) for number in range(9)])
    assert clean(candidates, lambda: lacking[0], remove) <= 0
    assert len(removed) == 3
    assert clean(candidates, lambda: 0, remove) == 0
    assert len(removed) == 3
    assert clean(iter([Path("x")]), lambda: 7, lambda _: None) == 7
