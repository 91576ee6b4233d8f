"""What counts as a standstill of the ledger's event loop."""

import pytest

from agents.orchestrator import guard
from agents.orchestrator.guard import StallGuard


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.deaths: list[str] = []
        monkeypatch.setattr(guard.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(guard, "die", lambda why, **_: self.deaths.append(why))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_long_start_is_no_standstill(clock: Clock) -> None:
    watched = StallGuard(6000)
    clock.now += 10
    watched.begin()
    watched.check()
    assert clock.deaths == []


def test_longer_than_half_a_session_without_a_beat_ends_the_process(clock: Clock) -> None:
    watched = StallGuard(6000)
    watched.begin()
    clock.now += 2.9
    watched.check()
    assert clock.deaths == []
    clock.now += 0.2
    watched.check()
    assert len(clock.deaths) == 1
