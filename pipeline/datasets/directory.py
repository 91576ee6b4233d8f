"""Products in a local directory, published by one atomic rename each (design: staged, marked, never replaced).

```
<root>/.staging/<job_id>/<attempt>/<n>        a product being staged, later the one that it took the place of
<root>/.staging/<job_id>/<attempt>/.journal   what the attempt is making visible, written before it begins
<root>/.staging/<job_id>/<attempt>/.lower-<m> what a lower attempt left, out of reach of a process that still runs it
<root>/.staging/.locks/<nn>                   who changes what is visible; held by the kernel, so death frees it
<root>/<location>/.jobstream.json             the marker of a visible product
```
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from pipeline.datasets import journal
from pipeline.datasets.copying import remove
from pipeline.datasets.directory_publication import DirectoryPublication
from pipeline.datasets.errors import StoreBusy
from pipeline.datasets.marker import Marker, read_marker
from pipeline.datasets.shelf import Shelf, Step, no_step, try_lock
from pipeline.datasets.store import Orphaned, Store, never


class DirectoryStore(Store):
    """Products below one directory of a local file system, shared by all workers of this machine."""

    def __init__(self, root: Path, lock_timeout: float = 30.0, on_step: Step = no_step) -> None:
        """See `Shelf`: makes the directory, and raises StoreUnsupported where it can't be used."""
        self.shelf = Shelf(root, lock_timeout, on_step)

    def begin(self, marker: Marker, force: bool = False, orphaned: Orphaned = never) -> DirectoryPublication:
        """See `Store.begin`."""
        return DirectoryPublication(self.shelf, marker, force, orphaned)

    def url(self, location: str) -> str:
        """See `Store.url`: a `file://` URL."""
        return self.shelf.place(location).as_uri()

    def owner(self, location: str) -> Marker | None:
        """See `Store.owner`."""
        return read_marker(self.shelf.place(location))

    def sweep(self, older_than: float) -> list[str]:
        """See `Store.sweep`."""
        removed = []
        for job in sorted(self.shelf.staging.iterdir()):
            if job.name.startswith(".probe-"):
                self._remove_if_dead(job, older_than)
            elif not job.name.startswith("."):
                with suppress(FileNotFoundError):
                    removed += [entry for entry in sorted(job.iterdir()) if self._remove_if_dead(entry, older_than)]
                journal.forget(job)
        return [f"{entry.parent.name}/{entry.name}" for entry in removed]

    def _remove_if_dead(self, attempt: Path, older_than: float) -> bool:
        try:
            handle = os.open(attempt, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if time.time() - os.fstat(handle).st_mtime < older_than or not try_lock(handle):
                return False
            journal.undo(self.shelf, attempt, attempt.parent.name)
            remove(attempt)
            return True
        except (FileNotFoundError, StoreBusy):
            return False
        finally:
            os.close(handle)
