"""How many submissions of one sender go on in a time."""

from agents.gate.rate import Rate


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_sender_that_was_quiet_may_use_ten_seconds_of_its_rate_at_once_and_then_its_rate() -> None:
    clock = Clock()
    rate = Rate(5.0, clock)
    assert rate.allowance == 50
    rate.count(50)
    assert rate.allowance == 0
    clock.now += 1
    assert rate.allowance == 5
    clock.now += 1000
    assert rate.allowance == 50


def test_what_went_on_beyond_the_allowance_is_taken_off_what_comes() -> None:
    clock = Clock()
    rate = Rate(10.0, clock)
    rate.count(120)
    clock.now += 2
    assert rate.allowance == 0
    clock.now += 1
    assert rate.allowance == 10


def test_even_the_slowest_rate_lets_one_go_on_in_the_end() -> None:
    clock = Clock()
    rate = Rate(0.01, clock)
    assert rate.allowance == 1
    rate.count(1)
    clock.now += 99
    assert rate.allowance == 0
    clock.now += 1.001
    assert rate.allowance == 1
