"""Claims that the ledger has not answered."""

from collections import OrderedDict
from dataclasses import dataclass

from pipeline.messages.inbox import Claim


@dataclass(slots=True)
class OpenClaim:
    """A claim, the inbox partition it went to, and when it was sent: first, and last."""

    claim: Claim
    worker_id: str
    partition: int
    since: int
    first_sent: int
    sent: int


class OpenClaims:
    """By run key, in the order of sending, so that what is oldest is found without looking at the rest."""

    def __init__(self) -> None:
        self._by_sent: OrderedDict[str, OpenClaim] = OrderedDict()
        self._by_partition: dict[int, OrderedDict[str, OpenClaim]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._by_sent

    def __len__(self) -> int:
        return len(self._by_sent)

    def add(self, key: str, claim: OpenClaim) -> None:
        """Keep a claim that is sent now."""
        self._by_sent[key] = claim
        self._by_partition.setdefault(claim.partition, OrderedDict())[key] = claim

    def pop(self, key: str) -> OpenClaim | None:
        """Take out the claim that was answered, None where there is none."""
        claim = self._by_sent.pop(key, None)
        if claim is not None:
            of_partition = self._by_partition[claim.partition]
            del of_partition[key]
            if not of_partition:
                del self._by_partition[claim.partition]
        return claim

    def due(self, now: int, after_ms: int) -> list[Claim]:
        """Return the claims that were last sent `after_ms` ago or longer, as sent again now."""
        again = []
        while self._by_sent:
            key, claim = next(iter(self._by_sent.items()))
            if now - claim.sent < after_ms:
                break
            claim.sent = now
            self._by_sent.move_to_end(key)
            again.append(claim.claim)
        return again

    def slow(self, now: int, than_ms: int) -> frozenset[int]:
        """Return the partitions whose oldest claim was first sent more than `than_ms` ago."""
        oldest = ((number, next(iter(claims.values()))) for number, claims in self._by_partition.items())
        return frozenset(number for number, claim in oldest if now - claim.first_sent > than_ms)

    def clear(self) -> list[str]:
        """Forget all claims, and return their keys."""
        keys = list(self._by_sent)
        self._by_sent.clear()
        self._by_partition.clear()
        return keys

    def of_queue(self, queue: str) -> list[OpenClaim]:
        """Return the claims on a queue's jobs."""
        return [claim for claim in self._by_sent.values() if claim.claim.queue == queue]
