"""Many submissions: sent as fast as Kafka takes them, and no faster."""

import time
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from functools import partial
from typing import Self

from agents.bus import DeliveryError, Outcome
from ops.client.bus import Bus
from ops.client.errors import ClientError, InvalidSubmissionError, NotAllStoredError
from ops.client.progress import Tell
from ops.submitting import Submission

#: failures that are remembered
_REMEMBERED = 1000
#: submissions between two looks at the progress; s between two, while the last are awaited
_EVERY, _PAUSE = 100, 0.1


@dataclass(frozen=True, slots=True)
class Sent:
    """How many submissions Kafka has confirmed, in how many seconds."""

    stored: int
    seconds: float


class Bulk:
    """Submissions that are under way. What can't be sent is said at the end; once Kafka fails, nothing more is sent.

    For one thread at a time, in which deliveries are heard of too. `finish` or `close` ends it.
    """

    def __init__(self, bus: Bus, tell: Tell) -> None:
        self._sending = bus.sending()
        self._tell = tell
        self._begun = time.monotonic()
        self._sent = self._confirmed = self._failed = self._refused = 0
        self._failures: list[tuple[str, str]] = []
        self._broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sending.close()

    def add(self, submissions: Iterable[Submission], total: int | None = None) -> bool:
        """Send them; False once it makes no sense to send more."""
        if total is None and isinstance(submissions, Sized):
            total = len(submissions)
        for number, one in enumerate(submissions, 1):
            if self._broken:
                return False
            self._send(one)
            if number % _EVERY == 0:
                self._sending.serve(0.0)
                self._tell(self._confirmed, total)
        return not self._broken

    def finish(self) -> Sent:
        """Wait until Kafka has answered for all; raises NotAllStoredError."""
        # bounded: each is answered within the bus's own delivery time-out
        while self._confirmed + self._failed < self._sent:
            self._sending.serve(_PAUSE)
            self._tell(self._confirmed, self._sent)
        self._tell(self._confirmed, self._sent)
        seconds = time.monotonic() - self._begun
        if self._failed or self._refused:
            left = self._failed + self._refused
            raise NotAllStoredError(self._confirmed, left, self._failures, stopped=self._broken)
        return Sent(self._confirmed, seconds)

    def _send(self, submission: Submission) -> None:
        try:
            self._sending.send(submission, partial(self._stored, submission.submission_id))
        except ClientError as error:
            self._refused += 1
            self._remember(submission.submission_id, str(error))
            self._broken = not isinstance(error, InvalidSubmissionError)
        else:
            self._sent += 1

    def _stored(self, submission_id: str, outcome: Outcome) -> None:
        if not isinstance(outcome, DeliveryError):
            self._confirmed += 1
            return
        self._failed += 1
        self._remember(submission_id, str(outcome))
        # what the broker refuses may be this record's fault; whatever else fails is not
        if not outcome.refused:
            self._broken = True

    def _remember(self, submission_id: str, why: str) -> None:
        if len(self._failures) < _REMEMBERED:
            self._failures.append((submission_id, why))
