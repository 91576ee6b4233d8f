"""When the next facts come: jobs submitted at a moment, and the first fact of each inbox partition about one."""

import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ops.bench.errors import BenchError
from ops.bench.lives import payload_of
from ops.bench.load import JOB_TYPE, submissions
from ops.reading.facts import FactReader
from ops.submitting import Submission, Submitter
from pipeline.settings import Settings

#: Probes a partition: that none of so many falls into one of them happens once in 2^32 times with two.
_PROBES = 32


class Prober:
    """Submits jobs and waits for facts about them."""

    def __init__(self, settings: Settings, patience: float = 1800.0) -> None:
        self._partitions = settings.topology.inbox_partitions
        self._patience = patience
        self._reader = FactReader(settings)
        self._submitter = Submitter(settings, **{"linger.ms": 0})
        self._follower = self._reader.follow()
        self._count = 0

    def __enter__(self) -> Self:
        self._reader.__enter__()
        self._follower.__enter__()
        self._submitter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._submitter.__exit__(kind, error, trace)
        self._follower.__exit__(kind, error, trace)
        self._reader.__exit__(kind, error, trace)

    def seconds_until_accepted(self, since: float) -> tuple[float, float]:
        """Submit probes; return seconds from `since` (monotonic) to the first fact about one, and to the slowest
        partition's first. Raises BenchError where they don't come.
        """
        self._count += 1
        tag = f"probe-{time.time_ns()}-{self._count}"
        for one in submissions(tag, _PROBES * self._partitions):
            self._submitter.send(one)
        seen: dict[int, float] = {}
        deadline = time.monotonic() + self._patience
        while len(seen) < self._partitions:
            fact = self._follower.next(0.5)
            if fact is not None and fact.submission_id.startswith(tag):
                seen.setdefault(fact.inbox_partition, time.monotonic() - since)
            if time.monotonic() > deadline:
                raise BenchError(f"facts of {len(seen)} of {self._partitions} partitions within {self._patience:.0f} s")
        return round(min(seen.values()), 2), round(max(seen.values()), 2)

    def outcomes(self, numbers: Iterable[int]) -> dict[str, int]:
        """Submit again what the lives of these numbers were; return how many came to which first fact."""
        self._count += 1
        sent = [
            Submission(JOB_TYPE, payload_of(number), f"again-{time.time_ns()}-{self._count}-{number}")
            for number in numbers
        ]
        waiting = {one.submission_id for one in sent}
        for one in sent:
            self._submitter.send(one)
        found: Counter[str] = Counter()
        deadline = time.monotonic() + self._patience
        while waiting:
            fact = self._follower.next(0.5)
            if fact is not None and fact.submission_id in waiting:
                waiting.remove(fact.submission_id)
                found[str(fact.status)] += 1
            if time.monotonic() > deadline:
                raise BenchError(f"no fact about {len(waiting)} submissions within {self._patience:.0f} s")
        return dict(found)
