"""Sends what the scheduler decided to the inbox, and awaits no delivery but knows of each that failed."""

import orjson

from agents.bus import DeliveryError, Outcome, Publisher
from pipeline.codec import Codec
from pipeline.crash_points import here
from pipeline.identity import family_of_job
from pipeline.ledger.control import EXPIRE
from pipeline.messages.inbox import Claim, Control, Inbox
from pipeline.scheduling.message import Expired
from pipeline.topology import Topology

NAME = "scheduler"


class Sender:
    """Writes claims and expiries. A claim that is still on its way to the broker is not sent a second time."""

    def __init__(self, topology: Topology, codec: Codec, publisher: Publisher) -> None:
        self._topology = topology
        self._inbox = topology.inbox
        self._codec = codec
        self._publisher = publisher
        self._on_their_way: set[str] = set()
        self._failure: DeliveryError | None = None

    def claim(self, claim: Claim) -> None:
        """Send a claim."""
        if claim.claim_id not in self._on_their_way:
            self._on_their_way.add(claim.claim_id)
            self._send(claim.job_id, claim, claim.claim_id)
            here("scheduler.claim-sent")

    def expire(self, expired: Expired) -> None:
        """Tell the ledger that a job waited too long for what no worker offers."""
        arguments = orjson.dumps({"attempt": expired.attempt}).decode()
        self._send(expired.job_id, Control(EXPIRE, expired.job_id, NAME, expired.reason, arguments), None)

    def check(self) -> None:
        """Raise the DeliveryError of a record that was not delivered: the inbox is gone, or closed for minutes."""
        if self._failure is not None:
            raise self._failure

    def _send(self, job_id: str, body: Claim | Control, claim_id: str | None) -> None:
        family = family_of_job(job_id)
        value = self._codec.encode("inbox", Inbox(family, body).record())

        def delivered(outcome: Outcome) -> None:
            if claim_id is not None:
                self._on_their_way.discard(claim_id)
                here("scheduler.claim-delivered")
            if isinstance(outcome, DeliveryError):
                self._failure = outcome

        self._publisher.produce(self._inbox, family, value, self._topology.inbox_partition(family), delivered)
