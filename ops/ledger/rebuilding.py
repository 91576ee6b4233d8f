"""The tables written anew from the inbox: folded to disk first, then put on changelog topics that are made anew.

Nothing is touched before all partitions are folded. Then the changelogs go and come, the first record of each partition
says that a rebuild is under way, and the last that it is whole: an orchestrator that starts in between refuses to, and
a rebuild that was broken off begins again. A local store knows the topics that it was built from by their ids, so
that no old row survives in one.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.admin import remake
from agents.orchestrator.policy import policy_of
from agents.orchestrator.row import BACKING_KEY, FORGOTTEN_KEY, POLICY_KEY, Backing
from ops.ledger import changelogs
from ops.ledger.folding import TableFold
from ops.ledger.past import Past, is_as_recorded
from ops.ledger.refusals import Reach, UnsafeError, commit, no_orchestrator, reaches, topics_fit
from ops.ledger.rows import ACTIVE, DOCUMENTS, FAMILIES, FoldedRows, LedgerRows
from ops.ledger.writing import Writer
from ops.reading.log import Log
from ops.replaying.reading import Tell, silent
from ops.replaying.store import DiskStore, disk_store
from pipeline.ledger.policy import Policy
from pipeline.messages.inbox import PolicySet
from pipeline.settings import Settings
from pipeline.topology import TABLES

#: Families of before the inbox begins that are named in a refusal.
_NAMED = 3


@dataclass(slots=True)
class Rebuilt:
    """What was written: rows by table, the inbox offset of each partition from which the ledger goes on.

    `left_out` counts families that the fold can't know, by why; only where that was asked for.
    """

    rows: Counter[str] = field(default_factory=Counter)
    goes_on_at: dict[int, int] = field(default_factory=dict)
    undecided: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "rows": dict(self.rows),
            "goes_on_at": self.goes_on_at,
            "undecided": self.undecided,
            "left_out": dict(self.left_out),
            "notes": self.notes,
        }


def rebuild(
    settings: Settings,
    *,
    replace: bool = False,
    lose_past: bool = False,
    dry_run: bool = False,
    tell: Tell = silent,
    say: Callable[[str], object] = lambda _text: None,
) -> Rebuilt:
    """Write the changelogs of the ledger's tables from the inbox, up to where the ledger has decided it.

    `replace`: also where they hold whole tables. `lose_past`: also where families have jobs from before the inbox
    begins; those are left out. Raises UnsafeError, before anything is changed, where that would be wrong.
    """
    with Log(settings, follows=False) as log, disk_store() as store:
        return _Rebuilding(settings, log, store, tell, say).run(replace, lose_past, dry_run)


class _Rebuilding:
    def __init__(
        self, settings: Settings, log: Log, store: DiskStore, tell: Tell, say: Callable[[str], object]
    ) -> None:
        self._settings = settings
        self._topology = settings.topology
        self._log = log
        self._store = store
        self._tell = tell
        self._say = say
        self._done = Rebuilt()

    def run(self, replace: bool, lose_past: bool, dry_run: bool) -> Rebuilt:
        """Check, fold, check again, write."""
        names = dict(zip(TABLES, self._topology.changelogs(), strict=True))
        states = topics_fit(self._settings, names.values())
        there = all(states[topic.name].partitions is not None for topic in names.values())
        if not replace and there:
            self._refuse_whole_tables()
        no_orchestrator(self._settings, self._say)
        reach = reaches(self._settings, self._log, lose_past=lose_past)
        for number, one in reach.items():
            self._fold(number, one, lose_past)
        if dry_run:
            self._count()
            return self._done
        # the fold may have taken hours
        no_orchestrator(self._settings, self._say)
        if reach != (now := reaches(self._settings, self._log, lose_past=lose_past)) and _moved(reach, now):
            raise UnsafeError("the ledger has gone on meanwhile: an orchestrator ran; stop it, and begin again")
        self._write({number: one.decided for number, one in reach.items() if not one.committed})
        return self._done

    def _refuse_whole_tables(self) -> None:
        """Raise UnsafeError where the changelogs hold tables that an orchestrator would take."""
        topic = self._topology.changelogs()[0]
        bounds = [self._log.bounds(topic, number) for number in range(topic.partitions)]
        if all(first == end for first, end in bounds):
            return
        for number in range(topic.partitions):
            rows = LedgerRows(self._store, f"known/{number}")
            changelogs.merge_families(self._log, self._topology, number, rows, self._tell)
            backing = None if rows.backing is None else Backing.of(rows.backing)
            if backing is not None and not backing.whole:
                self._say("a rebuild was broken off: it begins again")
                return
        raise UnsafeError(
            f"{topic.name} holds tables; `jobstream ledger verify` says whether they are right. "
            "--replace writes them anew"
        )

    def _fold(self, number: int, reach: Reach, lose_past: bool) -> None:
        rows = LedgerRows(self._store, f"fold/{number}")
        first = Policy() if reach.first == 0 else policy_of(self._settings)
        fold = TableFold(self._settings, number, rows, first)
        window = first.window_ms
        for record in fold.records(self._log, reach.first, reach.decided, self._tell):
            step = fold.apply(record)
            if record.message is not None and isinstance(record.message.body, PolicySet) and step.policy is not None:
                window = step.policy.window_ms
        self._done.goes_on_at[number] = reach.decided
        self._done.undecided += reach.end - reach.decided
        if reach.first > 0:
            self._judge_past(number, rows, reach, window, lose_past)

    def _judge_past(self, number: int, rows: LedgerRows, reach: Reach, window: int, lose_past: bool) -> None:
        """Leave out families that the fold has otherwise than their facts say; raise UnsafeError unless told to."""
        past = Past(self._store, number)
        past.read(self._settings, self._log, number, reach.first, reach.decided, self._tell)
        if not past.is_known and not lose_past:
            raise UnsafeError(
                f"partition {number}: the inbox begins at offset {reach.first}, and jobs.events begins later still: "
                "whether families have jobs from before can't be known. --lose-past goes on, and forgets such jobs: "
                "unfinished ones never end, and what was completed may run again"
            )
        folded = FoldedRows(rows)
        before = past.now - window
        wrong = [family for family, jobs in past.families() if not is_as_recorded(folded.family(family), jobs, before)]
        if wrong and not lose_past:
            raise UnsafeError(
                f"partition {number}: the inbox begins at offset {reach.first}, and {len(wrong)} families have jobs "
                f"from before ({', '.join(wrong[:_NAMED])}{', …' if len(wrong) > _NAMED else ''}). --lose-past leaves "
                "them out: what of them is unfinished never ends, and what was completed may run again"
            )
        for family in wrong:
            self._leave_out(rows, family)

    def _leave_out(self, rows: LedgerRows, family: str) -> None:
        for table in (ACTIVE, FAMILIES):
            rows.put(table, family.encode(), None)
        for key, _ in list(rows.rows_from(DOCUMENTS, f"{family}-".encode())):
            rows.put(DOCUMENTS, key, None)
        self._done.left_out["jobs from before the inbox begins"] += 1

    def _write(self, positions: dict[int, int]) -> None:
        """Make the changelogs anew and fill them; the families' says when all is whole.

        `positions` are those of the ledger's that nobody has committed.
        """
        families, *others = self._topology.changelogs()
        # the families first: without them no orchestrator starts, whoever makes the topics again
        made = remake(self._settings, [families, *others])
        ids = {table: made[topic.name] for table, topic in zip(TABLES, (families, *others), strict=True)}
        self._mark(Backing(ids, whole=False))
        with Writer(self._settings) as writer:
            for number in range(families.partitions):
                rows = LedgerRows(self._store, f"fold/{number}")
                for table, topic in zip(reversed(TABLES), reversed(self._topology.changelogs()), strict=True):
                    for key, value in rows.rows(table):
                        writer.send(topic, key, value, number)
                        self._done.rows[table] += 1
                        self._tell("rows", writer.written, writer.written)
                for key in (POLICY_KEY, FORGOTTEN_KEY):
                    own = rows.get(FAMILIES, key)
                    if own is not None:
                        writer.send(families, key, own, number)
            writer.settle()
        if positions:
            commit(self._settings, positions)
        # nothing says that it is whole before everything is there
        self._mark(Backing(ids))

    def _mark(self, backing: Backing) -> None:
        topic = self._topology.changelogs()[0]
        with Writer(self._settings) as writer:
            for number in range(topic.partitions):
                writer.send(topic, BACKING_KEY, backing.value(), number)

    def _count(self) -> None:
        for number in range(self._topology.inbox_partitions):
            rows = LedgerRows(self._store, f"fold/{number}")
            for table in TABLES:
                self._done.rows[table] += sum(1 for _ in rows.rows(table))


def _moved(before: dict[int, Reach], now: dict[int, Reach]) -> bool:
    return any(now[number].decided != one.decided or now[number].first > one.decided for number, one in before.items())
