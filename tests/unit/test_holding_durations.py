"""What a worker expects of a run by the last ones of its type."""

from pipeline.holding.durations import Durations


def after(*runs: int, job_type: str = "a") -> Durations:
    durations = Durations(1000)
    for run in runs:
        durations.ran(job_type, run)
    return durations


def test_nothing_is_expected_of_a_type_that_hardly_ran() -> None:
    assert after(10, 10).expected("a") is None
    assert after(10, 10, 10).expected("b") is None


def test_the_longest_of_the_last_runs_is_expected() -> None:
    assert after(10, 300, 20).expected("a") == 300
    assert after(300, *[20] * 8).expected("a") == 20


def test_nothing_is_expected_of_types_that_take_long() -> None:
    assert after(10, 10, 1001).expected("a") is None


def test_types_that_ran_long_ago_are_forgotten() -> None:
    durations = after(10, 10, 10)
    for number in range(256):
        durations.ran(f"other-{number}", 1)
    assert durations.expected("a") is None
