"""The visible part of a bucket: locations, their manifests, and how an attempt's are taken back.

```
<prefix>/<location>/.jobstream.json           the manifest of a visible product: whose it is, and where its files are
<prefix>/.products/<job_id>/<attempt>/<token>/<n>/<name>/  its files, staged, and later shown without being moved
<prefix>/.attempts/<job_id>/<attempt>         what the attempt is doing
```
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from pipeline.datasets.errors import Collision, InvalidProduct, StoreBusy, StoreUnsupported
from pipeline.datasets.marker import MARKER
from pipeline.datasets.s3_bucket import Bucket, Changed, Step
from pipeline.datasets.s3_record import PRODUCTS, RECORDS, Entry, Manifest, Record, Records, State, read_manifest
from pipeline.datasets.tree import is_text

#: Tries at an object that others write meanwhile.
TRIES = 10
#: bytes that S3 allows in a key
MAX_KEY = 1024
#: objects below a free location that are looked at
_LOOKED_AT = 20


class S3Shelf:
    """Products below a prefix of a bucket."""

    def __init__(self, url: str, options: Mapping[str, Any], on_step: Step) -> None:
        """`url` is `s3://bucket[/prefix]`. Raises InvalidProduct for another one, StoreUnavailable as `Bucket`."""
        name, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not url.startswith("s3://") or not name:
            raise InvalidProduct(f"{url!r} is not s3://bucket or s3://bucket/prefix")
        self.prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{name}/{self.prefix}"
        self.bucket = Bucket(name, options, on_step)
        self.records = Records(self.bucket, self.prefix)
        self._tried = False

    def place(self, location: str) -> str:
        """A location as a path below the prefix: given so, or as a URL below the store's.

        Raises InvalidProduct if it is the store itself, leads outside, or to what the store keeps for itself.
        """
        text = location.removeprefix(self.url)
        names = text.split("/")
        if "://" in text or any(name in ("", ".", "..") or "\0" in name for name in names):
            raise InvalidProduct(f"location {location!r} is not a plain path inside the store {self.url}")
        if names[0] in (RECORDS, PRODUCTS) or not is_text(text) or len(self.key(text).encode()) > MAX_KEY:
            raise InvalidProduct(f"location {location!r} can't be used: reserved, not UTF-8, or too long")
        return text

    def key(self, place: str) -> str:
        """The key of a place's manifest."""
        return f"{self.prefix}{place}/{MARKER}"

    def look(self, place: str) -> tuple[Manifest | None, bytes, str] | None:
        """What is at a place: the manifest (None: something else), its text and its tag. None where nothing is."""
        found = self.bucket.get(self.key(place))
        return None if found is None else (read_manifest(found.data), found.data, found.etag)

    def visible(self, place: str) -> Manifest | None:
        """The manifest of the product that readers see at a place."""
        found = self.look(place)
        return found[0] if found is not None and found[0] is not None and not found[0].withdrawn else None

    def check_free(self, place: str) -> None:
        """Raise Collision if a place without a manifest holds anything else, or is inside a product."""
        below = f"{self.prefix}{place}/"
        for listed in self.bucket.keys(below, _LOOKED_AT):
            inner = listed.key.removeprefix(self.prefix)
            if not inner.endswith(f"/{MARKER}") or self.visible(inner.removesuffix(f"/{MARKER}")) is not None:
                raise Collision(f"{place}: taken by something that is not a published product ({inner})")
        for parent in PurePosixPath(place).parents[:-1]:
            owner = self.visible(str(parent))
            if owner is not None:
                raise Collision(f"{place}: inside {parent}, published by job {owner.job_id}", owner=owner.job_id)

    def try_conditions(self) -> None:
        """Raise StoreUnsupported, once, if the server doesn't heed conditions: without them nothing is promised."""
        if self._tried:
            return
        key = f"{self.records.root}.probe"
        with suppress(Changed):
            self.bucket.put(key, b"one", None)
        try:
            self.bucket.put(key, b"other", None)
        except Changed:
            self._tried = True
            return
        raise StoreUnsupported(f"{self.url}: the server replaced an object in spite of If-None-Match")

    def fence(self, job_id: str, attempt: int, by: int, *, sure: bool = False) -> None:
        """Take over an attempt that has not ended, and take back what it showed, the last first.

        Of one that has ended only what it took the place of goes. Repeating it goes on where it stopped. `sure` says
        that no request of that attempt can still be under way (it is the caller's own); else each of its places is
        left so that such a request finds it changed. Raises StoreBusy, StoreUnavailable.
        """
        for _ in range(TRIES):
            loaded = self.records.load(job_id, attempt)
            if loaded is None or loaded[0].state is State.CLEARED:
                return
            record, etag = loaded
            try:
                if record.state is State.ENDED:
                    self.tidy(record, etag)
                    return
                if record.state is not State.FENCED:
                    record = record.model_copy(update={"state": State.FENCED, "fenced_by": by})
                    etag = self.records.save(record, etag)
                kept = [entry.location for entry in reversed(record.entries) if self._take_back(entry, record, sure)]
                self.bucket.remove(self.records.data(record))
                done = {"state": State.CLEARED, "entries": (), "withdrawn": (*record.withdrawn, *kept)}
                self.records.save(record.model_copy(update=done), etag)
                return
            except Changed:
                continue
        raise StoreBusy(f"job {job_id}, attempt {attempt}: others take it over again and again")

    def tidy(self, record: Record, etag: str) -> None:
        """Remove what an attempt took the place of, and its record, unless a sweep must see to something later."""
        for data in record.superseded:
            self.bucket.remove(f"{self.prefix}{data}/")
        if not record.withdrawn:
            self.records.remove(record, etag)
        elif record.superseded:
            self.records.save(record.model_copy(update={"superseded": ()}), etag)

    def _take_back(self, entry: Entry, record: Record, sure: bool) -> bool:
        """Undo one entry; return whether a withdrawn manifest stays there."""
        for _ in range(TRIES):
            found = self.look(entry.location)
            try:
                if found is None:
                    if not sure:
                        gone = _stand_in(record)
                        self.bucket.put(self.key(entry.location), gone.again(), None)
                    return not sure
                return self._take_back_found(entry, record, found, sure)
            except Changed:
                continue
        raise StoreBusy(f"{entry.location}: written by others again and again")

    def _take_back_found(
        self, entry: Entry, record: Record, found: tuple[Manifest | None, bytes, str], sure: bool
    ) -> bool:
        theirs, _, etag = found
        key = self.key(entry.location)
        if theirs is None:
            return False
        if (theirs.job_id, theirs.attempt, theirs.token) != (record.job_id, record.attempt, record.token):
            if not sure:
                self.bucket.put(key, theirs.again(), etag)
            return theirs.withdrawn and not sure
        before = read_manifest(entry.before) if entry.before else None
        if before is not None and self._has_data(before):
            self.bucket.put(key, before.again(), etag)
            return before.withdrawn
        if sure:
            self.bucket.delete(key, etag)
            return False
        self.bucket.put(key, theirs.again(withdrawn=True), etag)
        return True

    def _has_data(self, manifest: Manifest) -> bool:
        return manifest.withdrawn or next(self.bucket.keys(self.prefix + manifest.data, 1), None) is not None


def _stand_in(record: Record) -> Manifest:
    return Manifest(
        job_id=record.job_id,
        attempt=max(record.fenced_by, record.attempt),
        holder="",
        payload_hash="",
        time="",
        token="",
        data="",
        files=0,
        size=0,
        withdrawn=True,
    )
