"""What an attempt is doing in a bucket: one object an attempt, changed only by who has seen its last state.

Nothing in a bucket can be locked or moved. So an attempt says in its record what it is about to show before it
does; whoever takes over changes the record first, after which the attempt can't write it any more and knows.
"""

from enum import StrEnum
from secrets import token_hex

from pydantic import BaseModel, ConfigDict, Field

from pipeline.datasets.errors import StoreUnavailable
from pipeline.datasets.marker import Marker
from pipeline.datasets.s3_bucket import Bucket

RECORDS = ".attempts"
PRODUCTS = ".products"


class State(StrEnum):
    """How far an attempt got."""

    #: Nothing is shown yet.
    STAGING = "staging"
    #: Some of the entries may be shown, and nobody was told.
    COMMITTING = "committing"
    #: All of it is shown, for good.
    ENDED = "ended"
    #: Somebody took over; what was shown is being taken back.
    FENCED = "fenced"
    #: Nothing of it is shown or staged any more.
    CLEARED = "cleared"


class Manifest(Marker):
    """What makes a product visible: the marker, and where its files are. `nonce` makes each writing another object.

    A `withdrawn` one shows nothing, and keeps requests that may still be under way from showing anything there.
    """

    token: str
    data: str
    files: int
    size: int
    nonce: str = Field(default_factory=lambda: token_hex(4))
    withdrawn: bool = False

    def again(self, *, withdrawn: bool | None = None) -> bytes:
        """Return it as another object, which conditions on this one no longer fit."""
        nonce, gone = token_hex(4), self.withdrawn if withdrawn is None else withdrawn
        return self.model_copy(update={"nonce": nonce, "withdrawn": gone}).model_dump_json().encode()


class Entry(BaseModel):
    """A product: its location, and the manifest whose place it takes, as text."""

    model_config = ConfigDict(frozen=True)
    location: str
    before: str | None = None


class Record(BaseModel):
    """One attempt. `token` tells this run of it from another; the last two lists are for a sweep to remove."""

    model_config = ConfigDict(frozen=True)
    job_id: str
    attempt: int
    token: str
    state: State = State.STAGING
    fenced_by: int = 0
    entries: tuple[Entry, ...] = ()
    withdrawn: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()


class Records:
    """All records of a store, below `prefix` of a bucket."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket = bucket
        self.root = f"{prefix}{RECORDS}/"
        self._products = f"{prefix}{PRODUCTS}/"

    def key(self, job_id: str, attempt: int) -> str:
        """The key of an attempt's record."""
        return f"{self.root}{job_id}/{attempt}"

    def data(self, record: Record) -> str:
        """The prefix of all files that a run of an attempt stages."""
        return f"{self._products}{record.job_id}/{record.attempt}/{record.token}/"

    def load(self, job_id: str, attempt: int) -> tuple[Record, str] | None:
        """An attempt's record and its tag. Raises StoreUnavailable for one that can't be read."""
        found = self.bucket.get(self.key(job_id, attempt))
        if found is None:
            return None
        try:
            return Record.model_validate_json(found.data), found.etag
        except ValueError as error:
            raise StoreUnavailable(f"{self.key(job_id, attempt)} is damaged: {error}") from error

    def save(self, record: Record, etag: str | None) -> str:
        """Write a record over the state that `etag` names, or as a new one; return its tag. Raises Changed."""
        return self.bucket.put(self.key(record.job_id, record.attempt), record.model_dump_json().encode(), etag)

    def remove(self, record: Record, etag: str) -> None:
        """Remove a record that is in the state that `etag` names. Raises Changed."""
        self.bucket.delete(self.key(record.job_id, record.attempt), etag)

    def attempts(self, job_id: str) -> list[int]:
        """The attempts of a job that have records, the highest first."""
        prefix = f"{self.root}{job_id}/"
        names = [listed.key.removeprefix(prefix) for listed in self.bucket.keys(prefix)]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def read_manifest(data: bytes | str) -> Manifest | None:
    """The manifest that an object holds; None if it is something else."""
    try:
        return Manifest.model_validate_json(data)
    except ValueError:
        return None
