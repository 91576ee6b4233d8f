"""Products in a bucket of an S3 server that heeds `If-Match` and `If-None-Match` (decision 011)."""

import time
from collections.abc import Mapping
from typing import Any

from pipeline.datasets.errors import StoreBusy
from pipeline.datasets.marker import Marker
from pipeline.datasets.s3_bucket import Changed, Step
from pipeline.datasets.s3_publication import S3Publication
from pipeline.datasets.s3_record import State
from pipeline.datasets.s3_shelf import S3Shelf
from pipeline.datasets.shelf import no_step
from pipeline.datasets.store import Orphaned, Store, never


class S3Store(Store):
    """Products below `s3://bucket[/prefix]`, shared by all workers that may write there."""

    def __init__(self, url: str, options: Mapping[str, Any], on_step: Step = no_step) -> None:
        """`options` are those of `Bucket`. Raises InvalidProduct for another URL, StoreUnavailable without botocore."""
        self.shelf = S3Shelf(url, options, on_step)

    def begin(self, marker: Marker, force: bool = False, orphaned: Orphaned = never) -> S3Publication:
        """See `Store.begin`. Raises StoreUnsupported if the server ignores conditions."""
        self.shelf.try_conditions()
        return S3Publication(self.shelf, marker, force, orphaned)

    def url(self, location: str) -> str:
        """See `Store.url`: an `s3://` URL, below which the manifest is."""
        return f"{self.shelf.url}{self.shelf.place(location)}"

    def owner(self, location: str) -> Marker | None:
        """See `Store.owner`."""
        found = self.shelf.visible(self.shelf.place(location))
        return None if found is None else Marker.model_validate(found.model_dump())

    def sweep(self, older_than: float) -> list[str]:
        """See `Store.sweep`. Who lives can't be told here: what was touched last before that time is dead."""
        root, removed = self.shelf.records.root, []
        for listed in self.shelf.bucket.keys(root):
            job_id, _, attempt = listed.key.removeprefix(root).partition("/")
            if attempt.isdecimal() and time.time() - listed.time >= older_than:
                try:
                    self._clear(job_id, int(attempt))
                    removed.append(f"{job_id}/{attempt}")
                except (Changed, StoreBusy):
                    continue
        return removed

    def _clear(self, job_id: str, attempt: int) -> None:
        shelf = self.shelf
        shelf.fence(job_id, attempt, attempt)
        loaded = shelf.records.load(job_id, attempt)
        if loaded is None:
            return
        record, etag = loaded
        if record.state is State.CLEARED:
            # an upload may have ended after it was cleared
            shelf.bucket.remove(shelf.records.data(record))
        for place in record.withdrawn:
            found = shelf.look(place)
            if found is not None and found[0] is not None and found[0].withdrawn:
                shelf.bucket.delete(shelf.key(place), found[2])
        shelf.tidy(record.model_copy(update={"withdrawn": ()}), etag)
