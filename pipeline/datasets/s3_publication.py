"""One attempt's publication in a bucket: files are uploaded once, and shown by one conditional put a product."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from secrets import token_hex

from pipeline.datasets.errors import (
    Collision,
    DatasetError,
    Fenced,
    InvalidProduct,
    PublishRefused,
    StoreBusy,
    StoreUnavailable,
)
from pipeline.datasets.marker import Encounter, Marker, meet
from pipeline.datasets.s3_bucket import Changed
from pipeline.datasets.s3_record import PRODUCTS, Entry, Manifest, Record, State, read_manifest
from pipeline.datasets.s3_shelf import MAX_KEY, TRIES, S3Shelf
from pipeline.datasets.store import Address, Orphaned, Publication, Wanted, nothing
from pipeline.datasets.tree import JobTree, is_text
from pipeline.datasets.walk import walk


class S3Publication(Publication):
    """See `Publication`. Where the same attempt begins once more elsewhere, this one is fenced."""

    def __init__(self, shelf: S3Shelf, marker: Marker, force: bool, orphaned: Orphaned) -> None:
        """See `Store.begin`."""
        self.shelf = shelf
        self.marker = marker
        self.force = force
        self.orphaned = orphaned
        self._manifests: dict[str, Manifest] = {}
        self._stopped = threading.Event()
        self._closed = False
        self._record, self._etag = self._begin()
        try:
            self._fence_lower()
        except BaseException:
            self.close()
            raise

    def stage(
        self,
        tree: JobTree,
        parts: tuple[str, ...],
        location: str,
        extra: Mapping[str, bytes],
        wanted: Wanted | None = None,
    ) -> int:
        """See `Publication.stage`. Empty directories are not kept: a bucket has none."""
        place = self.shelf.place(location)
        ours = PurePosixPath(place)
        for other in map(PurePosixPath, self._manifests):
            if ours == other or ours in other.parents or other in ours.parents:
                raise Collision(f"{place}: wanted by two products of this job", owner=self.marker.job_id)
        record = self._record
        name = f"{len(self._manifests)}/{ours.name}"
        data = f"{PRODUCTS}/{record.job_id}/{record.attempt}/{record.token}/{name}"
        files, size = 0, 0
        self._save(self._record)
        for key, pieces in self._files(tree, parts, extra, wanted):
            size += self._upload(f"{self.shelf.prefix}{data}/{key}", pieces)
            files += 1
        self._check_fence()
        told = {**self.marker.model_dump(), "token": record.token, "data": data, "files": files, "size": size}
        self._manifests[place] = Manifest(**told)
        return size

    def address(self, location: str) -> Address:
        """See `Publication.address`: the files stay where they were staged."""
        data = self._manifests[self.shelf.place(location)].data
        return Address(f"{self.shelf.url}{data}", data)

    def commit(self, then: Callable[[], None] = nothing) -> None:
        """See `Publication.commit`."""
        entries = tuple(Entry(location=place) for place in self._manifests)
        self._save(self._record.model_copy(update={"state": State.COMMITTING, "entries": entries}))
        try:
            for number in range(len(entries)):
                self._show(number)
            then()
            self._end()
        except BaseException as error:
            self._roll_back(error)
            raise

    def stop(self) -> None:
        """See `Publication.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """See `Publication.close`."""
        if self._closed:
            return
        self._closed = True
        # what can't be removed now, a sweep removes
        with suppress(DatasetError, Changed):
            record = self._record
            if record.state is State.STAGING:
                # who fenced it removed what there was then: an upload that was under way came after that
                with suppress(Fenced):
                    self._save(record.model_copy(update={"state": State.CLEARED}))
                self.shelf.bucket.remove(self.shelf.records.data(record))
            if self._record.state in (State.CLEARED, State.ENDED):
                self.shelf.tidy(self._record, self._etag)

    def _begin(self) -> tuple[Record, str]:
        """Make the attempt's record, or take over the one that an earlier run of it left."""
        job, attempt, records = self.marker.job_id, self.marker.attempt, self.shelf.records
        fresh = Record(job_id=job, attempt=attempt, token=token_hex(4))
        for _ in range(TRIES):
            loaded = records.load(job, attempt)
            if loaded is not None and loaded[0].fenced_by > attempt:
                break
            try:
                if loaded is None:
                    return fresh, records.save(fresh, None)
                if loaded[0].state not in (State.ENDED, State.CLEARED):
                    self.shelf.fence(job, attempt, attempt)
                    continue
                kept = {"withdrawn": loaded[0].withdrawn, "superseded": loaded[0].superseded}
                taken = fresh.model_copy(update=kept)
                return taken, records.save(taken, loaded[1])
            except Changed:
                continue
        else:
            raise StoreBusy(f"job {job}, attempt {attempt}: begun by others again and again")
        raise Fenced(f"job {job}: attempt {attempt} was fenced by attempt {loaded[0].fenced_by}")

    def _fence_lower(self) -> None:
        """The own record comes first: of two attempts that begin at once, one sees the other's."""
        attempts = self.shelf.records.attempts(self.marker.job_id)
        if attempts and attempts[0] > self.marker.attempt:
            raise Fenced(f"job {self.marker.job_id}: attempt {attempts[0]} has begun to publish")
        for lower in attempts:
            if lower < self.marker.attempt:
                self.shelf.fence(self.marker.job_id, lower, self.marker.attempt)

    def _files(
        self, tree: JobTree, parts: tuple[str, ...], extra: Mapping[str, bytes], wanted: Wanted | None
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        for entry in walk(tree, parts, wanted or (lambda _inside: True)):
            if not entry.is_directory and entry.inside[0] not in extra:
                yield "/".join(entry.inside), self._pieces(tree, entry.parts)
        for name, data in extra.items():
            yield name, iter([data] if data else [])

    def _pieces(self, tree: JobTree, parts: tuple[str, ...]) -> Iterator[bytes]:
        with tree.opened(parts) as source, os.fdopen(os.dup(source), "rb") as file:
            while piece := file.read(self.shelf.bucket.part):
                self._check()
                yield piece

    def _upload(self, key: str, pieces: Iterator[bytes]) -> int:
        self._check()
        if not is_text(key) or len(key.encode()) > MAX_KEY:
            raise InvalidProduct(f"{key!r}: not UTF-8, or longer than {MAX_KEY} bytes, and can't be a key")
        return self.shelf.bucket.upload(key, pieces)

    def _show(self, number: int) -> None:
        """Put one manifest in its place. The order counts: look, then say so in the record, then put.

        Who takes this attempt over changes the record first and the place then, so that one of the two writes fails.
        """
        entry = self._record.entries[number]
        ours = self._manifests[entry.location]
        for _ in range(TRIES):
            found = self.shelf.look(entry.location)
            if found is None:
                self.shelf.check_free(entry.location)
            elif self._is_shown(found[0], entry.location):
                return
            before = found[1].decode() if found is not None else None
            entries = list(self._record.entries)
            entries[number] = Entry(location=entry.location, before=before)
            self._save(self._record.model_copy(update={"entries": tuple(entries)}))
            try:
                text = ours.model_dump_json().encode()
                self.shelf.bucket.put(self.shelf.key(entry.location), text, None if found is None else found[2])
                return
            except Changed:
                continue
        raise StoreBusy(f"{entry.location}: taken and left by others again and again")

    def _is_shown(self, theirs: Manifest | None, place: str) -> bool:
        """Whether this very run is shown there already; else it may take the place, or this raises."""
        if theirs is not None and theirs.withdrawn:
            if theirs.job_id == self.marker.job_id and theirs.attempt > self.marker.attempt:
                raise Fenced(f"{place}: kept free of attempt {self.marker.attempt} by attempt {theirs.attempt}")
            return False
        met = meet(self.marker, theirs, place, self.force, self.orphaned)
        return met is Encounter.DONE and theirs is not None and theirs.token == self._record.token

    def _end(self) -> None:
        """From here on all stays visible; what it took the place of goes."""
        before = [read_manifest(entry.before) for entry in self._record.entries if entry.before]
        gone = tuple(one.data for one in before if one is not None and one.data)
        record = self._record
        ended = record.model_copy(
            update={"state": State.ENDED, "entries": (), "superseded": (*record.superseded, *gone)}
        )
        try:
            self._save(ended)
        except StoreUnavailable:
            # the answer may have been lost, not the request
            loaded = self.shelf.records.load(record.job_id, record.attempt)
            if loaded is None or loaded[0] != ended:
                raise
            self._record, self._etag = loaded

    def _roll_back(self, error: BaseException) -> None:
        """Take back all that this attempt shows, the failing product included; note on `error` what stays."""
        record = self._record
        try:
            loaded = self.shelf.records.load(record.job_id, record.attempt)
            if loaded is None or loaded[0].token != record.token or loaded[0].state is State.FENCED:
                error.add_note("a later attempt takes back what this one showed")
                return
            # after a lost answer a request may still be under way
            self.shelf.fence(record.job_id, record.attempt, record.attempt, sure=not _is_lost(error))
            cleared = self.shelf.records.load(record.job_id, record.attempt)
            if cleared is not None:
                self._record, self._etag = cleared
        except (DatasetError, Changed) as failure:
            error.add_note(f"not all could be taken back, the next attempt or a sweep will: {failure}")

    def _save(self, record: Record) -> None:
        try:
            self._etag = self.shelf.records.save(record, self._etag)
        except Changed as error:
            # an answer may have been lost, and the request sent again: then the record is as wanted
            loaded = self.shelf.records.load(record.job_id, record.attempt)
            if loaded is None or loaded[0] != record:
                raise self._fenced() from error
            self._etag = loaded[1]
        self._record = record

    def _check_fence(self) -> None:
        loaded = self.shelf.records.load(self.marker.job_id, self.marker.attempt)
        if loaded is None or loaded[1] != self._etag:
            raise self._fenced()

    def _fenced(self) -> Fenced:
        return Fenced(f"job {self.marker.job_id}: another run took over from attempt {self.marker.attempt}")

    def _check(self) -> None:
        if self._stopped.is_set():
            raise PublishRefused("publishing was stopped")


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, StoreUnavailable) or not isinstance(error, Exception)
