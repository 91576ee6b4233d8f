"""Which attempts run in a work root, and what disk they reserved.

```
<root>/room.lock        held by who looks, cleans up or reserves
<root>/room/<attempt>   a running attempt: bytes and worker; its lock ends with the process, however that ends
```
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.inputs.locks import try_lock
from pipeline.work.directory import WorkDirectory, opened_by

#: Bytes of a seat's file.
_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Seat:
    """An attempt's own reservation, until `leave`; `short` is what the disk lacked although the attempt may run."""

    path: Path
    handle: int
    short: int = 0

    def leave(self) -> None:
        """Give it up; call it once. Never raises."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            # unlocked, it is a crashed attempt's, which the next look removes
            pass
        finally:
            os.close(self.handle)


@dataclass(frozen=True, slots=True)
class Taken:
    """A seat as others see it: the name of its attempt's directory, the bytes reserved, and whose it is."""

    name: str
    reserved: int
    worker: str
    alive: bool


class Seats:
    """The seats of one root; all but `leave` need the lock of the root to be held."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "room"
        self.lock = root / "room.lock"

    def take(self, name: str, reserved: int, worker: str, short: int = 0) -> Seat:
        """Take a seat. Raises OSError; FileExistsError where the attempt runs already."""
        path = self._folder / name
        handle = try_lock(path)
        if handle is None:
            raise FileExistsError(f"{path} is held: the attempt runs already")
        try:
            size = os.pwrite(handle, orjson.dumps({"reserved": reserved, "worker": worker}), 0)
            if os.fstat(handle).st_size > size:
                # not before the write: a file that was truncated to nothing is flushed when it is closed
                os.ftruncate(handle, size)
        except OSError:
            Seat(path, handle).leave()
            raise
        return Seat(path, handle, short)

    def taken(self) -> Iterator[Taken]:
        """Yield all seats, those of processes that died included."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir()):
            try:
                data = orjson.loads(path.read_bytes()[:_LIMIT])
            except FileNotFoundError:
                continue
            except orjson.JSONDecodeError:
                # its process died while it took the seat
                data = {}
            handle = try_lock(path, create=False)
            if handle is not None:
                os.close(handle)
            yield Taken(path.name, int(data.get("reserved", 0)), str(data.get("worker", "")), handle is None)

    def directory(self, seat: Taken) -> WorkDirectory | None:
        """Return the open work directory of an attempt; None if it has none."""
        return opened_by(self._root, seat.worker, seat.name)

    def settle(self, seat: Taken) -> None:
        """Close the directory that a dead process left open, and remove its seat. Raises OSError."""
        directory = self.directory(seat)
        if directory is not None:
            directory.close()
        (self._folder / seat.name).unlink(missing_ok=True)
