"""The brokers' time as the scheduler tells it."""

from agents.scheduler.clock import LogClock


class Hand:
    """A clock's hand that a test moves."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


def test_there_is_no_time_before_a_record_was_read() -> None:
    assert LogClock(Hand()).now() is None


def test_time_goes_on_from_the_newest_record() -> None:
    hand = Hand()
    clock = LogClock(hand)
    clock.saw(1_000_000)
    hand.seconds += 2
    assert clock.now() == 1_002_000


def test_old_records_that_are_read_later_do_not_set_it_back() -> None:
    hand = Hand()
    clock = LogClock(hand)
    clock.saw(1_000_000)
    clock.saw(5000)
    clock.saw(-1)
    assert clock.now() == 1_000_000


def test_a_newer_record_sets_it_forward() -> None:
    clock = LogClock(Hand())
    clock.saw(1000)
    clock.saw(9000)
    assert clock.now() == 9000
