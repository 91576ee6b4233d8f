"""One attempt's publication in a directory store: staged, shown by one rename each, taken back on failure."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.datasets import journal
from pipeline.datasets.copying import copy_product, sync_directory, write_files
from pipeline.datasets.errors import Collision, DatasetError, Fenced, PublishRefused, StoreBusy
from pipeline.datasets.marker import MARKER, Encounter, Marker, meet, read_marker
from pipeline.datasets.rename import exchange
from pipeline.datasets.shelf import Shelf, try_lock
from pipeline.datasets.store import Address, Orphaned, Publication, Wanted, nothing
from pipeline.datasets.tree import JobTree

#: Tries at a place, or a directory, that others make and remove meanwhile.
_TRIES = 10


class DirectoryPublication(Publication):
    """See `Publication`. The attempt's staging directory is locked as long as this lives."""

    def __init__(self, shelf: Shelf, marker: Marker, force: bool, orphaned: Orphaned) -> None:
        """See `Store.begin`."""
        self.shelf = shelf
        self.marker = marker
        self.force = force
        self.orphaned = orphaned
        self._orphans: set[Marker] = set()
        self.job = shelf.staging / marker.job_id
        self.directory = self.job / str(marker.attempt)
        self._staged: list[tuple[Path, Path]] = []
        self._stopped = threading.Event()
        self._keep = False
        self._handle: int | None = self._open()
        try:
            self._clear_leftovers()
        except BaseException:
            self._keep = (self.directory / journal.JOURNAL).exists()
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
        """See `Publication.stage`."""
        place = self.shelf.place(location)
        for _, other in self._staged:
            if place == other or place in other.parents or other in place.parents:
                raise Collision(f"{place}: wanted by two products of this job", owner=self.marker.job_id)
        spare = self.directory / f"{len(self._staged)}-{place.name[:200]}"
        with self._fenced():
            size = copy_product(tree, parts, spare, wanted or _everything, self._check)
            size += write_files(spare, {**extra, MARKER: self.marker.model_dump_json().encode()})
            sync_directory(self.directory)
        self._staged.append((spare, place))
        self.shelf.on_step("staged")
        return size

    def address(self, location: str) -> Address:
        """See `Publication.address`: in a directory that is the location itself."""
        place = self.shelf.place(location)
        return Address(place.as_uri(), str(place.relative_to(self.shelf.root)))

    def commit(self, then: Callable[[], None] = nothing) -> None:
        """See `Publication.commit`."""
        entries = [journal.Entry(spare.name, str(place.relative_to(self.shelf.root))) for spare, place in self._staged]
        with self._fenced():
            journal.write(self.directory, entries)
        self.shelf.on_step("journal")
        try:
            with self._fenced():
                for spare, place in self._staged:
                    self._show(spare, place)
                self.shelf.on_step("all shown")
                then()
                journal.end(self.directory, self._opened())
        except BaseException as error:
            self._roll_back(error)
            raise
        self.shelf.on_step("committed")

    def stop(self) -> None:
        """See `Publication.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """See `Publication.close`."""
        if self._handle is None:
            return
        with suppress(OSError):
            if not self._keep and self._is_ours():
                journal.clear(self.directory)
                journal.forget(self.directory)
            journal.forget(self.job)
        self._release()

    def _open(self) -> int:
        """Make, open and lock the attempt's staging directory."""
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                self.directory.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                if not try_lock(handle):
                    os.close(handle)
                    raise StoreBusy(f"{self.directory}: this attempt is being published or cleared up right now")
                if self._is_ours(handle):
                    return handle
                os.close(handle)
        raise StoreBusy(f"{self.directory}: removed by others as soon as it is made")

    def _clear_leftovers(self) -> None:
        """Fence lower attempts; take back what they and this one showed in commits that never ended."""
        with self._fenced():
            begun = [int(path.name) for path in self.job.iterdir() if path.name.isdecimal()]
            if max(begun, default=0) > self.marker.attempt:
                raise Fenced(f"job {self.marker.job_id}: attempt {max(begun)} has begun to publish")
            if (self.directory / journal.JOURNAL).exists():
                journal.undo(self.shelf, self.directory, self.marker.job_id)
            journal.clear(self.directory)
            journal.move_lower(self.job, self.marker.attempt)
            self.shelf.on_step("lower moved")
            journal.undo_lower(self.shelf, self.directory, self.marker.job_id)
        self.shelf.on_step("begun")

    def _show(self, spare: Path, place: Path) -> None:
        for _ in range(_TRIES):
            with suppress(FileExistsError):
                self.shelf.show(spare, place)
                return
            self._ask(place)
            with self.shelf.locked(place):
                if not os.path.lexists(place):
                    continue
                if (
                    meet(self.marker, read_marker(place), str(place), self.force, self._orphans.__contains__)
                    is Encounter.DONE
                ):
                    return
                self.shelf.on_step("replace")
                exchange(spare, place)
            self.shelf.on_step("replaced")
            sync_directory(place.parent)
            return
        raise StoreBusy(f"{place}: taken and left by others again and again")

    def _ask(self, place: Path) -> None:
        """Ask whether another job's product is an orphan before the lock is held: the answer may take its time."""
        theirs = read_marker(place)
        if theirs is not None and theirs.job_id != self.marker.job_id and not self.force and self.orphaned(theirs):
            self._orphans.add(theirs)

    def _roll_back(self, error: BaseException) -> None:
        """Take back all that this attempt shows, the failing product included; note on `error` what stays."""
        if not self._is_ours():
            error.add_note("a later attempt takes back what this one showed")
            return
        self.shelf.on_step("roll back")
        for spare, place in reversed(self._staged):
            try:
                self.shelf.take_back(place, spare, self.marker.same_run)
            except (OSError, DatasetError) as failure:
                self._keep = True
                error.add_note(f"{place} could not be taken back, a sweep will: {failure}")

    def _check(self) -> None:
        if self._stopped.is_set():
            raise PublishRefused("publishing was stopped")

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        """Say what a vanished staging directory means: a later attempt has moved it away."""
        try:
            yield
        except FileNotFoundError as error:
            if self._is_ours():
                raise
            raise Fenced(f"job {self.marker.job_id}: a later attempt than {self.marker.attempt} took over") from error

    def _is_ours(self, handle: int | None = None) -> bool:
        """Whether the staging directory is still the one that was locked."""
        opened = self._handle if handle is None else handle
        try:
            return opened is not None and os.path.samestat(os.fstat(opened), self.directory.stat())
        except FileNotFoundError:
            return False

    def _opened(self) -> int:
        if self._handle is None:
            raise StoreBusy(f"{self.directory}: closed already")
        return self._handle

    def _release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None


def _everything(_inside: tuple[str, ...]) -> bool:
    return True
