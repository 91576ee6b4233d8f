"""The ledger's tables: families, documents, and the index of families with unfinished jobs (design §4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import structlog

from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.row import (
    BACKING_KEY,
    DELETIONS_KEY,
    FORGOTTEN_KEY,
    OFFSET_HEADER,
    OWN_KEYS,
    POLICY_KEY,
    Backing,
    body_of,
    deletions_in,
    deletions_value,
    offset_of,
    pack,
    policy_in,
    policy_value,
)
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.topic import Topic
from pipeline.topology import TABLES, Topology

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A table's new row and the changelog record that backs it; the value None deletes."""

    table: MergingTable
    changelog: Topic
    partition: int
    key: bytes
    value: bytes | None
    offset: int

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What a tombstone says of itself."""
        return [] if self.value is not None else [(OFFSET_HEADER, str(self.offset).encode())]

    def write(self) -> None:
        """Write the row to the local store, unless what is there includes more."""
        self.table.merge_row(self.partition, self.key, self.value, self.offset)


class LedgerTables:
    """Reads the rows of a partition, and makes the rows that a decision writes."""

    def __init__(self, app: faust.App, topology: Topology, **options: Any) -> None:
        def table(name: str) -> MergingTable:
            made: MergingTable = app.Table(
                name, partitions=topology.inbox_partitions, key_type=bytes, value_type=bytes, **options
            )
            return made

        self._families, self._documents, self._active = (table(name) for name in TABLES)
        self._changelogs = dict(zip(TABLES, topology.changelogs(), strict=True))

    def family(self, partition: int, family: str) -> Family:
        """Return a family's state, an empty one where nothing is known of it.

        The empty one includes all up to the offset to which rows were deleted: what is read again from before it was
        applied, and then forgotten.
        """
        value = self._families.get_row(partition, family.encode())
        return Family(family, self.forgotten(partition)) if value is None else Family.load(body_of(value))

    def has_family(self, partition: int, family: str) -> bool:
        """Say whether there is a row of the family."""
        return self._families.get_row(partition, family.encode()) is not None

    def families_after(self, partition: int, family: str, count: int) -> list[str]:
        """Return the ids of the first `count` families behind this one."""
        keys = self._families.keys_after(partition, family.encode(), count + len(OWN_KEYS))
        return [key.decode() for key in keys if key not in OWN_KEYS][:count]

    def documents_after(self, partition: int, job_id: str, count: int) -> list[str]:
        """Return the job ids of the first `count` documents behind this one."""
        return [key.decode() for key in self._documents.keys_after(partition, job_id.encode(), count)]

    def forgotten(self, partition: int) -> int:
        """Return the inbox offset that the last deletion of a family included, -1 before the first."""
        return max(-1, offset_of(self._families.get_row(partition, FORGOTTEN_KEY)))

    def document(self, partition: int, job_id: str) -> Document | None:
        """Return a job's document, None where there is none."""
        value = self._documents.get_row(partition, job_id.encode())
        return None if value is None else Document.load(body_of(value))

    def document_offset(self, partition: int, job_id: str) -> int:
        """Return the inbox offset that a job's document includes, below any where there is none."""
        return offset_of(self._documents.get_row(partition, job_id.encode()))

    def deletions(self, partition: int) -> dict[int, list[str]]:
        """Return the job ids of the documents that messages delete, by their inbox offsets.

        All messages whose deletions may not be in the changelog yet are among them.
        """
        value = self._families.get_row(partition, DELETIONS_KEY)
        return {} if value is None else deletions_in(value)

    def active(self, partition: int) -> Iterator[str]:
        """Yield the ids of a superset of the families with unfinished jobs."""
        for key, _ in self._active.rows(partition):
            yield key.decode()

    def active_offset(self, partition: int, family: str) -> int:
        """Return the inbox offset that a family's row in that index includes, below any where there is none."""
        return offset_of(self._active.get_row(partition, family.encode()))

    def policy(self, partition: int) -> tuple[str, Policy] | None:
        """Return the inbox's topic id and the policy that the partition's log has set, None before the first."""
        value = self._families.get_row(partition, POLICY_KEY)
        return None if value is None else policy_in(value)

    def policy_offset(self, partition: int) -> int:
        """Return the inbox offset of the partition's policy, below any where there is none."""
        return offset_of(self._families.get_row(partition, POLICY_KEY))

    def family_row(self, partition: int, family: Family) -> Row:
        """Return the row of a family's new state."""
        return self._row(
            self._families, "families", partition, family.id.encode(), family.offset, pack(family.offset, family.dump())
        )

    def forgotten_rows(self, partition: int, families: list[Family]) -> list[Row]:
        """Return the rows that delete families, after the one that says so: in this order they are to be written."""
        if not families:
            return []
        offset = max(family.offset for family in families)
        return [
            self._row(self._families, "families", partition, FORGOTTEN_KEY, offset, pack(offset, b"")),
            *(
                self._row(self._families, "families", partition, family.id.encode(), family.offset, None)
                for family in families
            ),
        ]

    def document_row(self, partition: int, job_id: str, document: Document | None, offset: int) -> Row:
        """Return the row of a new document, or the deletion of an old one."""
        value = None if document is None else pack(offset, document.dump())
        return self._row(self._documents, "documents", partition, job_id.encode(), offset, value)

    def deletions_row(self, partition: int, deleted: Mapping[int, Sequence[str]], offset: int) -> Row:
        """Return the row that says which documents the messages of a batch delete, which ends at `offset`.

        To be written before the batch's families. What it said of messages beyond that batch stays in it: a longer one
        was broken off, which may have written families that include those.
        """
        known = self._families.get_row(partition, DELETIONS_KEY)
        if known is not None and offset_of(known) > offset:
            beyond = {message: job_ids for message, job_ids in deletions_in(known).items() if message > offset}
            deleted, offset = {**deleted, **beyond}, offset_of(known)
        value, left_out = deletions_value(deleted, offset)
        if left_out:
            # they are deleted nevertheless, but for a crash: then a sweep finds them
            log.warning("a batch deletes more than can be said before", partition=partition, documents=left_out)
        return self._row(self._families, "families", partition, DELETIONS_KEY, offset, value)

    def active_row(self, partition: int, family: str, offset: int, *, active: bool) -> Row:
        """Return the row that enters a family into the index of unfinished ones, or takes it out."""
        return self._row(
            self._active, "active", partition, family.encode(), offset, pack(offset, b"") if active else None
        )

    def policy_row(self, partition: int, inbox_id: str, policy: Policy, offset: int) -> Row:
        """Return the row of the partition's policy."""
        value = policy_value(inbox_id, policy, offset)
        return self._row(self._families, "families", partition, POLICY_KEY, offset, value)

    def backing(self, partition: int) -> Backing | None:
        """Return what the partition's tables stand on, None where nobody has written it yet."""
        value = self._families.get_row(partition, BACKING_KEY)
        return None if value is None else Backing.of(value)

    def backing_row(self, partition: int, backing: Backing) -> Row:
        """Return the row that says what the partition's tables stand on."""
        return self._row(self._families, "families", partition, BACKING_KEY, -1, backing.value())

    def set_back_rows(self, partition: int) -> list[Row]:
        """Return the rows whose changelog an old owner set back: to be written again."""
        tables = {"families": self._families, "documents": self._documents, "active": self._active}
        return [
            self._row(table, name, partition, key, offset_of(value), value)
            for name, table in tables.items()
            for key, value in table.set_back(partition).items()
        ]

    def written_again(self, partition: int) -> None:
        """Hear that the rows that were set back are in the changelog again."""
        for table in (self._families, self._documents, self._active):
            table.written_again(partition)

    def _row(self, table: MergingTable, name: str, partition: int, key: bytes, offset: int, value: bytes | None) -> Row:
        return Row(table, self._changelogs[name], partition, key, value, offset)
