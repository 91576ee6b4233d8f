"""A slot of a task worker: what it does with a record that can't be handled yet. Broker and functions are played."""

from collections.abc import Callable

import pytest

from agents.tasks import slot as slots
from agents.tasks.handling import UnreadableError
from agents.tasks.outputs import OutputError
from agents.tasks.slot import Slot, Stopping
from agents.tasks.source import Taken

RECORD = Taken("tasks.q", 0, 5, 1000, b"t", b"any", 1)


class Source:
    """Hands one record out until it is accepted, and stops the slot then; `lock` seconds each time."""

    whole_batches = True

    def __init__(self, stopping: Stopping, lock: float | None = None) -> None:
        self.lock = lock
        self.told: list[str] = []
        self._stopping = stopping

    def take(self, timeout: float) -> Taken | None:
        self.told.append("take")
        return RECORD

    def held(self) -> bool:
        return True

    def accept(self) -> bool:
        self.told.append("accept")
        self._stopping.ask(0)
        return True

    def release(self) -> bool:
        self.told.append("release")
        return True

    def close(self) -> None:
        pass


class Handling:
    """Fails some times as it is told, and is done then."""

    def __init__(self, error: Exception, times: int) -> None:
        self._error, self._times = error, times

    def handle(self, taken: Taken, watch: Callable[[], object]) -> bool:
        self._times -= 1
        if self._times >= 0:
            raise self._error
        return True


def run(error: Exception, times: int, lock: float | None = None) -> list[str]:
    stopping = Stopping()
    source = Source(stopping, lock)
    Slot(lambda: source, Handling(error, times), stopping).run()  # type: ignore[arg-type]
    return source.told


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_PAUSE", 0.0)


def test_a_record_stays_in_hand_while_the_registry_is_away() -> None:
    """Given back, it would be delivered too often within seconds, and be a dead letter for an outage of ours."""
    assert run(UnreadableError("away"), 50) == ["take", "accept"]


def test_it_is_given_back_when_its_lock_ends() -> None:
    assert run(UnreadableError("away"), 2, lock=0.0) == ["take", "release", "take", "release", "take", "accept"]


def test_what_could_not_be_written_is_given_back() -> None:
    assert run(OutputError("away"), 1) == ["take", "release", "take", "accept"]
