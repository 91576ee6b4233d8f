"""Retrying many jobs that the index names: bounded in rate and in what is under way, and safe to repeat."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agents.index_reader import MOST, IndexReader, JobQuery
from ops.controlling import Answer, Controller
from ops.reading.facts import document_of
from pipeline.messages.control import RETRY, ControlRequest
from pipeline.messages.fact import Fact
from pipeline.settings import Settings


class Outcome(StrEnum):
    """What came of a job's retry."""

    RETRIED = "retried"
    #: It has gone on since the index was asked, or an earlier run of the same command did it.
    ALREADY = "already"
    REFUSED = "refused"
    NOT_YET = "not-yet"


@dataclass(frozen=True, slots=True)
class Wish:
    """A job as the index has it, whose next attempt is wanted after `attempt`."""

    job_id: str
    attempt: int
    status: str = ""
    type: str = ""
    error: str = ""

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Wish":
        """Build it from a job's document."""
        texts = (str(document.get(name) or "") for name in ("status", "type", "short_error"))
        return cls(str(document.get("job_id")), int(document.get("attempt") or 0), *texts)


def wishes(index: IndexReader, query: JobQuery, limit: int) -> tuple[list[Wish], bool]:
    """Return the jobs that fit, those first that changed first, and whether there are more than `limit`."""
    found = index.find(query, min(limit + 1, MOST))
    return [Wish.of(document) for document in reversed(found[:limit])], len(found) > limit


def retry_all(
    settings: Settings,
    wanted: Sequence[Wish],
    by: str,
    reason: str,
    arguments: dict[str, Any],
    rate: int,
    patience: float,
) -> Iterator[tuple[Wish, Outcome, Fact | None]]:
    """Ask for the jobs' next attempts, `rate` a second at most, and yield what comes of each.

    What was asked in a second is answered before more is asked; what isn't within `patience` seconds ends the whole.
    A request names the attempt that it follows, so that one that comes twice, or late, runs no job twice.
    """
    with Controller(settings, [wish.job_id for wish in wanted]) as controller:
        for start in range(0, len(wanted), rate):
            begun = time.monotonic()
            asked = [
                (wish, controller.ask(_request(wish, by, reason, arguments), known=True))
                for wish in wanted[start : start + rate]
            ]
            deadline = time.monotonic() + patience
            late = False
            for wish, request in asked:
                answer, fact = controller.answer(request, max(0.0, deadline - time.monotonic()))
                outcome = _outcome(wish, answer, fact)
                late = late or outcome is Outcome.NOT_YET
                yield wish, outcome, fact
            if late:
                return
            if start + rate < len(wanted):
                time.sleep(max(0.0, begun + 1 - time.monotonic()))


def _request(wish: Wish, by: str, reason: str, arguments: dict[str, Any]) -> ControlRequest:
    return ControlRequest(RETRY, wish.job_id, by, reason, json.dumps({**arguments, "attempt": wish.attempt}))


def _outcome(wish: Wish, answer: Answer, fact: Fact | None) -> Outcome:
    if answer is Answer.DONE:
        return Outcome.RETRIED
    if fact is None:
        return Outcome.NOT_YET
    attempt = document_of(fact).get("attempt")
    return Outcome.ALREADY if isinstance(attempt, int) and attempt > wish.attempt else Outcome.REFUSED
