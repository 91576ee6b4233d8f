"""Workers that hand jobs back or lose them rest, each time for longer."""

from dataclasses import dataclass

from pipeline.scheduling.rules import Rules


@dataclass(slots=True)
class _Rest:
    until: int
    length: int


class Rests:
    """By worker id, so that a worker that crashes and starts again is still known."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._rests: dict[str, _Rest] = {}
        self._resting: set[str] = set()

    def lost(self, worker_id: str, at: int) -> None:
        """Let a worker rest that did not keep a job; all that it loses while it rests counts as one loss."""
        rest = self._rests.get(worker_id)
        if rest is not None and at < rest.until:
            return
        forgotten = rest is None or at - rest.until > self._rules.rest_forget_ms
        length = self._rules.rest_ms if rest is None or forgotten else min(2 * rest.length, self._rules.rest_max_ms)
        self._rests[worker_id] = _Rest(at + length, length)
        self._resting.add(worker_id)

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._resting

    def ended(self, now: int) -> list[str]:
        """Return the workers whose rest is over since the last call."""
        over = sorted(worker for worker in self._resting if self._rests[worker].until <= now)
        self._resting.difference_update(over)
        return over

    def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        self._rests.pop(worker_id, None)
        self._resting.discard(worker_id)
