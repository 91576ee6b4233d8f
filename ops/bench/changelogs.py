"""What the changelogs hold, read on from where the last look ended: millions of records are too many for each look."""

from collections import Counter

from faust.types import TP

from agents.changelog_reader import Change, ChangelogReader
from pipeline.settings import Settings
from pipeline.topology import TABLES


class Changelogs:
    """Counts the changelogs' records, and the rows that they leave, by table; the ledger's own rows don't count."""

    def __init__(self, settings: Settings) -> None:
        topics = settings.topology.changelogs()
        self._settings = settings
        self._places = [TP(topic.name, number) for topic in topics for number in range(topic.partitions)]
        self._read: dict[TP, int] = {}
        self._records: Counter[str] = Counter()
        self._rows: dict[str, set[bytes]] = {table: set() for table in TABLES}

    def look(self) -> int:
        """Read what was written since the last look; return how many rows are left of all tables."""
        reader = ChangelogReader(self._settings, self._take)
        bounds = reader.bounds(self._places)
        reader.read({tp: (self._read.get(tp, begin), end) for tp, (begin, end) in bounds.items()})
        self._read = {tp: end for tp, (_, end) in bounds.items()}
        return sum(self.rows.values())

    @property
    def records(self) -> dict[str, int]:
        """How many records were read, by table."""
        return {name: self._records[name] for name in TABLES}

    @property
    def rows(self) -> dict[str, int]:
        """How many rows they leave, by table."""
        return {table: sum(not key.startswith(b"!") for key in keys) for table, keys in self._rows.items()}

    def _take(self, tp: TP, changes: list[Change]) -> None:
        table = tp.topic.split("-")[-2]
        self._records[table] += len(changes)
        for change in changes:
            (self._rows[table].discard if change.value is None else self._rows[table].add)(change.key)
