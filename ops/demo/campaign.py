"""The run: submissions go to jobs.submit as any client's do, and jobs.events says what becomes of them."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from agents.bus import DeliveryError, Publisher
from agents.registry import codec
from ops.demo.errors import DemoError
from ops.demo.submissions import Planned
from ops.reading.facts import FactReader
from ops.submitting import is_final
from pipeline.messages.fact import Fact
from pipeline.partitioning import partition_of
from pipeline.settings import Settings

#: Seconds until the ledger must have taken a submission, and until every job must have ended.
TAKEN_TIMEOUT, ENDED_TIMEOUT = 60.0, 240.0
_DELIVERY_TIMEOUT = 15.0
#: Seconds without any fact after which it is said that something is still awaited.
_QUIET = 10.0


class Campaign:
    """Submits and follows; `tell` hears each new fact with the submission that it belongs to."""

    def __init__(self, settings: Settings, tell: Callable[[Planned, Fact], None], wait: Callable[[str], None]) -> None:
        self._topic = settings.topology.submit
        self._codec = codec(settings)
        self._tell = tell
        self._wait = wait
        self._publisher = Publisher(settings, "jobstream-demo")
        self._reader = FactReader(settings)
        # assigned before anything is sent, so that no fact can be missed
        self._follower = self._reader.follow()
        self._planned: dict[str, Planned] = {}
        self.facts: dict[str, Fact] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.close(_DELIVERY_TIMEOUT)
        self._follower.close()
        self._reader.close()

    def run(self, planned: Sequence[Planned]) -> None:
        """Submit everything and wait for the end; raises DemoError where a wait takes too long.

        Duplicates go once the ledger has taken all others: submissions lie in several partitions, so that of two that
        are under way together either could be taken first.
        """
        first = [one for one in planned if one.original is None]
        again = [one for one in planned if one.original is not None]
        self._send(first)
        self._await(first, lambda fact: fact is not None, TAKEN_TIMEOUT, "taken")
        self._send(again)
        self._await(planned, lambda fact: fact is not None and is_final(fact), ENDED_TIMEOUT, "ended")

    def _send(self, planned: Iterable[Planned]) -> None:
        deliveries = []
        for one in planned:
            self._planned[one.id] = one
            partition = partition_of(one.id, self._topic.partitions)
            deliveries.append(self._publisher.send(self._topic, one.id, one.encoded(self._codec), partition))
        try:
            for delivery in deliveries:
                delivery.result(_DELIVERY_TIMEOUT)
        except (DeliveryError, TimeoutError) as error:
            raise DemoError(f"Kafka did not store the submissions: {str(error) or 'no answer in time'}") from error

    def _await(
        self, planned: Sequence[Planned], reached: Callable[[Fact | None], bool], timeout: float, what: str
    ) -> None:
        deadline = time.monotonic() + timeout
        while left := [one.label for one in planned if not reached(self.facts.get(one.id))]:
            if time.monotonic() > deadline:
                raise DemoError(f"not {what} within {timeout:.0f} s: {', '.join(left)}")
            fact = self._follower.next(min(_QUIET, max(0.0, deadline - time.monotonic())))
            if fact is None:
                self._wait(f"still waiting for {', '.join(left)} to be {what}")
            elif (one := self._planned.get(fact.submission_id)) is not None:
                self._heard(one, fact)

    def _heard(self, planned: Planned, fact: Fact) -> None:
        known = self.facts.get(planned.id)
        if known is None or fact.seq > known.seq:
            self.facts[planned.id] = fact
            self._tell(planned, fact)
