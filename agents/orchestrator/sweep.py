"""Finds what can be forgotten: a walk over a partition's rows, a bounded number of them at each tick (decision 007)."""

import secrets

import structlog

from agents.orchestrator.tables import LedgerTables
from pipeline.crash_points import here
from pipeline.identity import family_of_job
from pipeline.ledger.decision import At
from pipeline.ledger.forgetting import document_expires, family_expires
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.ledger.timers import FORGET
from pipeline.messages.inbox import Due

log = structlog.stdlib.get_logger(__name__)

#: Rows that are looked at in a tick: some ms of them.
LOOKED_AT = 1000
#: Messages that a tick makes of them at most, so that much that ended together makes no burst.
MAX_DUE = 400
#: ms between two rounds, at least; where the windows are short, an eighth of the shortest, but not below the second.
_REST, _REST_MIN = 3_600_000, 1000


class Sweep:
    """Walks over the families and then over the documents, round after round; keeps nothing but where it stands.

    What it finds is said in `Due` messages, and the ledger decides by the time of those. A round that was lost with
    its process, or a row that changed meanwhile, costs time and nothing else.
    """

    def __init__(self, number: int, tables: LedgerTables) -> None:
        self._number = number
        self._tables = tables
        # not from the start: of many short lives of the process each would see the first rows alone
        self._behind = secrets.token_hex(4)
        self._in_documents = False
        self._whole = False
        self._next = 0
        self._begun: int | None = None
        self._soonest: int | None = None
        self._family: Family | None = None

    def is_due(self, now: int) -> bool:
        """Say whether there is something to look at (`now` in ms), for which ticks are needed."""
        return now >= self._next

    def step(self, at: At, policy: Policy) -> list[Due]:
        """Look at the next rows by the time of a tick; return what falls due."""
        if not self.is_due(at.timestamp):
            return []
        found: list[Due] = []
        left = LOOKED_AT
        self._family = None
        while left > 0 and len(found) < MAX_DUE:
            self._begun = at.timestamp if self._begun is None else self._begun
            walk = self._tables.documents_after if self._in_documents else self._tables.families_after
            names = walk(self._number, self._behind, min(left, MAX_DUE - len(found)))
            if not names:
                if self._ends_round(at.timestamp, policy):
                    break
                continue
            left -= len(names)
            found += [Due(FORGET, name, 0, at.offset) for name in names if self._is_over(name, at.timestamp, policy)]
            self._behind = names[-1]
        if found:
            here("ledger.swept")
        return found

    def _is_over(self, name: str, now: int, policy: Policy) -> bool:
        try:
            family = self._family_of(name)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("a family can't be read", partition=self._number, name=name, error=str(error))
            return False
        expires = document_expires(family, name, policy) if self._in_documents else family_expires(family, policy)
        if expires is None:
            return False
        if expires > now:
            self._soonest = min(expires, self._soonest or expires)
        return expires <= now

    def _family_of(self, name: str) -> Family:
        """Return the family, looked up once for documents that follow each other."""
        wanted = family_of_job(name)
        if self._family is None or self._family.id != wanted:
            self._family = self._tables.family(self._number, wanted)
        return self._family

    def _ends_round(self, now: int, policy: Policy) -> bool:
        """Go on with the documents, or end the round and rest until something can be due; say whether it ended."""
        self._behind = ""
        self._in_documents = not self._in_documents
        if self._in_documents:
            return False
        if not self._whole:
            # the first round began somewhere
            self._whole = True
            return False
        shortest = min(policy.document_ms, policy.window_ms)
        begun = now if self._begun is None else self._begun
        # what ended after it was looked at is due no sooner than a window from the round's beginning
        soonest = begun + shortest if self._soonest is None else min(self._soonest, begun + shortest)
        self._next = max(soonest, now + max(_REST_MIN, min(_REST, shortest // 8)))
        self._begun = self._soonest = None
        return True
