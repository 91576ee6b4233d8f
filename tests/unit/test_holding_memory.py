from hypothesis import given
from hypothesis import strategies as st

from pipeline.holding.clock import BrokerClock
from pipeline.holding.memory import Remembered

KEEP = 600


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 20)), max_size=100))
def test_nothing_is_forgotten_before_its_time(steps: list[tuple[int, int]]) -> None:
    memory, now, added = Remembered(KEEP), 0, dict[int, int]()
    for pause, job in steps:
        now += pause
        memory.add(f"f-{job}", 1, now)
        added[job] = now
        for other, at in added.items():
            assert memory.holds(f"f-{other}", 1, now) or now - at >= KEEP


def test_what_was_never_added_is_not_remembered() -> None:
    memory = Remembered(KEEP)
    for number in range(1000):
        memory.add(f"f-{number}", 1, now=number)
    assert not memory.holds("f-1", 2, now=1000)
    assert not memory.holds("g-1", 1, now=1000)


def test_memory_is_bounded_by_time() -> None:
    memory = Remembered(KEEP)
    for number in range(20_000):
        memory.add(f"f-{number}", 1, now=number)
    assert len(memory) <= KEEP + 2 * KEEP / 6
    assert not memory.holds("f-0", 1, now=20_000)


def test_age_is_told_by_the_brokers_stamps_whatever_the_local_clock_says() -> None:
    clock = BrokerClock()
    clock.observe(sent=100, stamp=5_000_000)
    assert clock.age(stamp=5_000_000, now=100) == 0
    assert clock.age(stamp=5_000_000, now=60_100) == 60_000


def test_a_slow_delivery_does_not_make_commands_older_once_a_quick_one_was_seen() -> None:
    clock = BrokerClock()
    clock.observe(sent=0, stamp=1_030_000)
    clock.observe(sent=40_000, stamp=1_040_002)
    assert clock.age(stamp=1_040_002, now=40_010) == 10


def test_age_is_never_negative_and_unknown_before_the_first_observation() -> None:
    clock = BrokerClock()
    assert clock.age(stamp=1, now=0) is None
    clock.observe(sent=0, stamp=-1)
    assert clock.age(stamp=1, now=0) is None
    clock.observe(sent=0, stamp=1000)
    assert clock.age(stamp=5000, now=0) == 0


def test_the_estimate_follows_a_broker_whose_clock_was_put_forward() -> None:
    clock = BrokerClock()
    clock.observe(sent=0, stamp=1000)
    for beat in range(1, 9):
        clock.observe(sent=beat, stamp=901_000 + beat)
    assert clock.age(stamp=901_000, now=10) == 10
