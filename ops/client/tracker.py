"""What is known of the jobs that somebody waits for; and the steps that a wait is made of."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ops.client.errors import ClientError, NotYetError, UnknownJobError
from ops.reading.facts import Facts
from ops.submitting import is_final, original_of, siblings_of
from pipeline.identity import asked_of, family_of_job
from pipeline.messages.fact import Fact
from pipeline.statuses import REFUSALS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until this holds; `what` is what has not happened where the time is over."""

    condition: Callable[[], bool]
    what: str


@dataclass(frozen=True, slots=True)
class Call:
    """Call this, which asks the broker and so takes a moment."""

    function: Callable[[], Any]


#: A wait, as whoever drives it sees it: in a thread, or in an event loop.
Steps = Generator[Until | Call, Any, T]


class Tracker:
    """The facts of one submission's jobs, or of one job; a listener adds them as they come, in a thread of its own.

    One that isn't `fresh` may have facts from before: they are read from the log when they are first needed, and what
    comes meanwhile is held back.
    """

    def __init__(self, facts: Facts, family: str, submission_id: str | None, job_id: str | None = None) -> None:
        self.family = family
        self.submission_id = submission_id
        self.job_id = job_id
        self.history: list[Fact] = []
        self.latest: dict[str, Fact] = {}
        self._facts = facts
        self._seen: dict[str, int] = {}
        self._held: list[Fact] | None = None
        self._wanted: set[str] | None = None if job_id is None else {job_id}
        self._followed: dict[str, str] = {}
        self._problem: ClientError | None = None
        self._changed = threading.Condition()
        self._told: list[Callable[[], object]] = []

    def has_a_past(self) -> None:
        """Say that there may be facts from before: `known` then reads them."""
        self._held = []

    # -- what the listener says

    def add(self, fact: Fact) -> None:
        """Take a fact; one that was taken before counts once."""
        with self._changed:
            if self._held is not None:
                self._held.append(fact)
                return
            self._take(fact)
        self._tell()

    def fail(self, problem: ClientError) -> None:
        """End every wait with this error."""
        with self._changed:
            self._problem = problem
            self._changed.notify_all()
        self._tell()

    def on_change(self, call: Callable[[], object]) -> Callable[[], None]:
        """Have something called, in any thread, whenever a wait may be over; returns what ends that."""
        self._told.append(call)
        return lambda: self._told.remove(call)

    # -- steps

    def taken(self) -> Steps[list[str]]:
        """Wait for the submission's jobs; return their ids, in the order in which the ledger took them."""
        yield from self.known()
        what = f"submission {self.submission_id} is not taken" if self.job_id is None else f"{self.job_id}: no news"
        yield Until(lambda: bool(self.latest), f"{what}: `jobstream status` says whether gate and orchestrator run")
        if self._wanted is None:
            # a job's first fact: only those come from the message that names its jobs. The last of them: what was
            # submitted under this id before, and is forgotten, made other jobs
            first = next((fact for fact in reversed(self.history) if fact.seq == 1), self.history[0])
            made = yield Call(lambda: siblings_of(self._facts, first))
            # of those it was not the first to ask for, the ledger kept the jobs that there were
            newest = {asked_of(job_id): job_id for job_id in self.latest}
            self._wanted = {newest.get(asked_of(job_id), job_id) for job_id in made}
        wanted = self._wanted or set()
        yield Until(lambda: wanted <= self.latest.keys(), f"submission {self.submission_id} is taken in part")
        return [job_id for job_id in self.latest if job_id in wanted]

    def ended(self, follow: Callable[[str], None]) -> Steps[list[Fact]]:
        """Wait for the jobs' ends; return the last fact of each, and of a duplicate its original's.

        `follow` has the listener add the facts of a job.
        """
        for job_id in (yield from self.taken()):
            original = original_of(self.latest[job_id])
            if original is not None and family_of_job(original) == family_of_job(job_id):
                yield Call(partial(self._adopt, original, follow))
                self._followed[job_id] = original if original in self.latest else job_id
        jobs = [self._followed.get(job_id, job_id) for job_id in (yield from self.taken())]
        yield Until(lambda: all(is_final(self.latest[one]) for one in jobs), f"{', '.join(jobs)}: not ended")
        return [self.latest[job_id] for job_id in jobs]

    def known(self) -> Steps[None]:
        """Read what happened before, where that is needed; raises UnknownJobError where a job has no fact at all."""
        if self._held is not None:
            yield Call(self._look_back)
        if self.job_id is not None and not self.latest:
            raise UnknownJobError(self.job_id)

    def done(self) -> bool:
        """Say whether all jobs are known and have ended."""
        wanted = self._wanted
        return wanted is not None and wanted <= self.latest.keys() and all(is_final(self.latest[one]) for one in wanted)

    # -- driving

    def wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until a condition holds that facts can change; False once the time is over. Raises what `fail` said."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not condition():
                self.check()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def check(self) -> None:
        """Raise what `fail` said."""
        if self._problem is not None:
            raise self._problem

    def drive(self, steps: Steps[T], timeout: float | None) -> T:
        """Go through the steps in this thread; raises NotYetError where they take longer than `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            if isinstance(step, Call):
                answer = step.function()
                continue
            answer = None
            if not self.wait(step.condition, None if deadline is None else deadline - time.monotonic()):
                raise NotYetError(f"{step.what} within {timeout:g} s")

    # -- inside

    def _take(self, fact: Fact) -> None:
        # the same id with another payload or hash is another submission, which somebody else may have sent
        if fact.family != self.family:
            return
        if fact.seq <= self._seen.get(fact.job_id, 0):
            return
        self._seen[fact.job_id] = fact.seq
        if self._concerns(fact):
            self.history.append(fact)
        # a refusal changes nothing of the job, and carries no document
        if fact.status not in REFUSALS:
            self.latest[fact.job_id] = fact
        self._changed.notify_all()

    def _concerns(self, fact: Fact) -> bool:
        return fact.submission_id == self.submission_id if self.job_id is None else fact.job_id == self.job_id

    def _look_back(self) -> None:
        found: Iterable[Fact]
        if self.job_id is not None:
            found = self._facts.of_job(self.job_id)
        else:
            found = (fact for fact in self._facts.of_family(self.family) if self._concerns(fact))
        before = list(found)
        with self._changed:
            held, self._held = self._held or [], None
            for fact in (*before, *held):
                self._take(fact)
        self._tell()

    def _adopt(self, original: str, follow: Callable[[str], None]) -> None:
        follow(original)
        for fact in self._facts.of_job(original):
            self.add(fact)

    def _tell(self) -> None:
        for call in list(self._told):
            call()
