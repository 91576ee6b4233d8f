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

#: Rows that are looked at in one go: some ms of them.
LOOKED_AT = 1000
#: Messages that are made of them at a time; the next rows are looked at when these have come back. So a job waits
#: behind no more than these, however much ended together.
STEP = 20
#: Rows that are looked at for a tick, where much falls due: the pace at which a past of years would go.
A_TICK = 3000
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
        #: The tick that rows are looked at for, how many more may be, and how many of its messages are under way.
        self._tick, self._left, self._under_way = -1, 0, 0

    def is_due(self, now: int) -> bool:
        """Say whether there is something to look at (`now` in ms), for which ticks are needed."""
        return now >= self._next

    def tick(self, at: At, policy: Policy) -> list[Due]:
        """Look at the next rows by the time of a tick; return what falls due."""
        self._tick, self._left = at.offset, A_TICK
        return self._step(at.timestamp, policy)

    def came_back(self, due: Due, now: int, policy: Policy) -> list[Due]:
        """Hear of a message of the log by its time (ms); return what falls due next, once all of a step have come.

        A tick's rows are not lost with such a message: the next tick goes on where this one stood.
        """
        if due.kind != FORGET or due.tick != self._tick or not self._under_way:
            return []
        self._under_way -= 1
        return [] if self._under_way else self._step(now, policy)

    def _step(self, now: int, policy: Policy) -> list[Due]:
        found: list[Due] = []
        self._family = None
        looks = min(self._left, LOOKED_AT)
        while self.is_due(now) and looks > 0 and len(found) < STEP:
            self._begun = now if self._begun is None else self._begun
            walk = self._tables.documents_after if self._in_documents else self._tables.families_after
            names = walk(self._number, self._behind, min(looks, STEP - len(found)))
            if not names:
                self._ends_round(now, policy)
                continue
            looks -= len(names)
            self._left -= len(names)
            found += [Due(FORGET, name, 0, self._tick) for name in names if self._is_over(name, now, policy)]
            self._behind = names[-1]
        self._under_way = len(found)
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

    def _ends_round(self, now: int, policy: Policy) -> None:
        """Go on with the documents, or end the round and rest until something can be due."""
        self._behind = ""
        self._in_documents = not self._in_documents
        if self._in_documents:
            return
        if not self._whole:
            # the first round began somewhere
            self._whole = True
            return
        shortest = min(policy.document_ms, policy.window_ms)
        begun = now if self._begun is None else self._begun
        # what ended after it was looked at is due no sooner than a window from the round's beginning
        soonest = begun + shortest if self._soonest is None else min(self._soonest, begun + shortest)
        self._next = max(soonest, now + max(_REST_MIN, min(_REST, shortest // 8)))
        self._begun = self._soonest = None
