"""A bucket as publishing uses it: conditional puts and deletes, uploads in parts, listings. The only user of botocore.

Everything is strongly consistent and each write is atomic, as S3 promises; a condition that doesn't hold is `Changed`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipeline.datasets.errors import StoreUnavailable

#: A session makes one client at a time.
_MAKING = threading.Lock()
#: bytes of one part of an upload; what is smaller goes in one request
PART = 16 << 20
#: seconds
_CONNECT_TIMEOUT, _READ_TIMEOUT = 15, 60
_TRIES = 5
#: keys of one deletion request, as S3 limits it
_DELETED_AT_ONCE = 1000
#: statuses that say that a condition doesn't hold, or that somebody else is writing the same key
_CHANGED = (409, 412)

Step = Callable[[str], None]


class Changed(Exception):  # noqa: N818
    """An object is not, or no more, as the condition wants it."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object's content, and the tag that conditions name it by."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An object's key and the time of its last change (seconds since the epoch, by the server's clock)."""

    key: str
    time: float


class Bucket:
    """Every method raises StoreUnavailable where the server can't be reached or refuses; it is tried a few times.

    `options` are those of the inputs' storage file: `key`, `secret`, `token`, `profile` (which wins over keys),
    `endpoint_url`, and `region_name` in `client_kwargs`. `on_step` is called before each write.
    """

    def __init__(self, name: str, options: Mapping[str, Any], on_step: Step) -> None:
        """Makes a client, which connects to nothing yet. Raises StoreUnavailable if botocore isn't installed."""
        self.name = name
        self._on_step = on_step
        self._client = _client(options)
        self.part = PART

    def get(self, key: str) -> Found | None:
        """Read an object; None if there is none. Only for small ones."""
        with self._asked(f"get {key}"):
            try:
                answer = self._client.get_object(Bucket=self.name, Key=key)
                return Found(answer["Body"].read(), answer["ETag"])
            except self._client.exceptions.NoSuchKey:
                return None

    def put(self, key: str, data: bytes, etag: str | None) -> str:
        """Write an object if it still has the tag, or (None) if there is none; return its new tag. Raises Changed."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self._writing(f"put {key}"):
            try:
                answer = self._client.put_object(Bucket=self.name, Key=key, Body=data, **condition)
            except self._client.exceptions.NoSuchKey as error:
                raise Changed(key) from error
            return str(answer["ETag"])

    def delete(self, key: str, etag: str) -> None:
        """Remove an object if it still has the tag; one that is gone is fine. Raises Changed."""
        with self._writing(f"delete {key}"):
            self._client.delete_object(Bucket=self.name, Key=key, IfMatch=etag)

    def upload(self, key: str, pieces: Iterable[bytes]) -> int:
        """Write an object of pieces of `part` bytes each, the last one of less; return its bytes.

        What the iterable raises ends the upload, and nothing of it stays.
        """
        rest = iter(pieces)
        first = next(rest, b"")
        if len(first) < self.part:
            with self._writing(f"upload {key}"):
                self._client.put_object(Bucket=self.name, Key=key, Body=first)
            return len(first)
        return self._upload_parts(key, first, rest)

    def keys(self, prefix: str, limit: int | None = None) -> Iterator[Listed]:
        """Yield the objects whose keys begin so, in their order, `limit` at most."""
        request: dict[str, Any] = {"Bucket": self.name, "Prefix": prefix}
        left = limit
        while left is None or left > 0:
            most = 1000 if left is None else min(left, 1000)
            with self._asked(f"list {prefix}"):
                answer = self._client.list_objects_v2(**request, MaxKeys=most)
            found = answer.get("Contents", [])
            yield from (Listed(one["Key"], one["LastModified"].timestamp()) for one in found)
            left = None if left is None else left - len(found)
            if not answer.get("IsTruncated"):
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def remove(self, prefix: str) -> None:
        """Remove all objects and unfinished uploads whose keys begin so; done again, it goes on where it stopped."""
        with self._writing(f"abort {prefix}"):
            uploads = self._client.list_multipart_uploads(Bucket=self.name, Prefix=prefix).get("Uploads", [])
            for one in uploads:
                self._abort(one["Key"], one["UploadId"])
        while batch := [listed.key for listed in self.keys(prefix, _DELETED_AT_ONCE)]:
            with self._writing(f"remove {prefix}"):
                wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self.name, Delete=wanted)
                if answer.get("Errors"):
                    raise StoreUnavailable(f"{self.name}: {prefix} can't be removed: {answer['Errors'][0]}")

    def _upload_parts(self, key: str, first: bytes, rest: Iterator[bytes]) -> int:
        upload: dict[str, Any] = {}
        try:
            with self._writing(f"begin {key}"):
                made = self._client.create_multipart_upload(Bucket=self.name, Key=key)
                upload = {"Bucket": self.name, "Key": key, "UploadId": made["UploadId"]}
            parts, size = [], 0
            for number, piece in enumerate(_chained(first, rest), 1):
                with self._writing(f"part {number} of {key}"):
                    tag = self._client.upload_part(**upload, PartNumber=number, Body=piece)["ETag"]
                parts.append({"PartNumber": number, "ETag": tag})
                size += len(piece)
            with self._writing(f"complete {key}"):
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
            return size
        except BaseException:
            if upload:
                with suppress(StoreUnavailable), self._asked(f"abort {key}"):
                    self._abort(key, upload["UploadId"])
            raise

    def _abort(self, key: str, upload: str) -> None:
        with suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        self._on_step(what)
        with self._asked(what):
            yield

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Make what botocore raises ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _CHANGED:
                raise Changed(what) from error
            said = error.response.get("Error", {})
            raise StoreUnavailable(f"{self.name}: {what}: {said.get('Code')}: {said.get('Message')}") from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(f"{self.name}: {what}: {error}") from error


def _client(options: Mapping[str, Any]) -> Any:
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise StoreUnavailable("publishing to S3 needs more than is installed: install jobstream[s3]") from error
    given = options.get("client_kwargs") or {}
    profile = options.get("profile")
    keys = {} if profile else {name: options.get(name) for name in ("key", "secret", "token")}
    try:
        with _MAKING:
            session = _session(profile)
            return session.create_client(
                "s3",
                region_name=given.get("region_name") or "us-east-1",
                endpoint_url=options.get("endpoint_url") or given.get("endpoint_url"),
                aws_access_key_id=keys.get("key"),
                aws_secret_access_key=keys.get("secret"),
                aws_session_token=keys.get("token"),
                config=Config(
                    connect_timeout=_CONNECT_TIMEOUT,
                    read_timeout=_READ_TIMEOUT,
                    retries={"mode": "standard", "total_max_attempts": _TRIES},
                ),
            )
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(f"no client for S3 can be made: {error}") from error


@lru_cache(maxsize=8)
def _session(profile: str | None) -> Any:
    """What takes long to make, and holds no connection."""
    from botocore.session import Session

    return Session(profile=profile)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
