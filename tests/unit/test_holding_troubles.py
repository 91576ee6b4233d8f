import pytest

from pipeline.holding.troubles import Tolerance, Troubles

HOUR = 3_600_000
TOLERANCE = Tolerance(failures=11, runs=12, window_ms=24 * HOUR)


def failing(troubles: Troubles, number: int, every_ms: int, category: str = "command-failed") -> str:
    """Fail so many times, one failure every so many ms; return what the last one led to."""
    return [troubles.failed(category, at * every_ms) for at in range(number)][-1]


@pytest.mark.parametrize("every_ms", [100, 60_000, HOUR], ids=["quick", "each minute", "each hour"])
def test_a_worker_that_only_fails_drains_however_long_its_jobs_take_to_fail(every_ms: int) -> None:
    troubles = Troubles(TOLERANCE)
    assert failing(troubles, 10, every_ms) == ""
    assert troubles.failed("command-failed", 10 * every_ms).startswith("11 of the last 11 runs failed")


def test_the_reason_names_the_kinds_of_failures_and_their_time() -> None:
    troubles = Troubles(TOLERANCE)
    failing(troubles, 9, 1000)
    troubles.failed("localize", 9000)
    assert troubles.failed("work-directory", 10_000) == (
        "11 of the last 11 runs failed within 10 s (command-failed, localize, work-directory)"
    )


def test_one_success_among_the_failures_hides_nothing_and_two_do() -> None:
    troubles = Troubles(TOLERANCE)
    troubles.completed(0)
    assert failing(troubles, 11, 1000).startswith("11 of the last 12 runs")
    troubles = Troubles(TOLERANCE)
    failing(troubles, 6, 1000)
    troubles.completed(7000)
    troubles.completed(7000)
    assert [troubles.failed("localize", 8000 + at) for at in range(8)] == [""] * 8


def test_successes_of_long_ago_do_not_keep_a_worker_that_fails_now() -> None:
    troubles = Troubles(TOLERANCE)
    for at in range(1000):
        troubles.completed(at)
    assert failing(troubles, 10, 1) == ""
    assert failing(troubles, 2, 1)


def test_failures_that_are_the_jobs_own_do_not_count() -> None:
    troubles = Troubles(TOLERANCE)
    for category in ("cannot-run", "out-of-memory", "stopped"):
        assert failing(troubles, 100, 1, category) == ""
    assert failing(troubles, 10, 1) == ""


def test_failures_older_than_the_window_do_not_count() -> None:
    troubles = Troubles(TOLERANCE)
    failing(troubles, 10, 1)
    assert troubles.failed("localize", 25 * HOUR) == ""


def test_it_begins_anew_when_told_to_forget() -> None:
    troubles = Troubles(TOLERANCE)
    failing(troubles, 11, 1)
    troubles.forget()
    assert failing(troubles, 10, 1) == ""


def test_a_worker_of_many_slots_needs_as_many_failures_more() -> None:
    assert TOLERANCE.of_slots(4) == TOLERANCE
    assert TOLERANCE.of_slots(120) == Tolerance(110, 120, TOLERANCE.window_ms)


def test_it_can_be_switched_off() -> None:
    assert failing(Troubles(Tolerance(0, 12, HOUR).of_slots(64)), 1000, 1) == ""
