"""What tells one state of a remote file from another."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

_ETAGS = ("ETag", "etag", "e_tag", "content_md5", "md5Hash", "checksum")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modify", "modified")


class Version(BaseModel):
    """Size in bytes, entity tag and time of modification, as the other side words them; None: it doesn't say."""

    model_config = ConfigDict(frozen=True)

    size: int | None = None
    etag: str | None = None
    mtime: str | None = None

    def same(self, other: "Version") -> bool:
        """Say whether both are certainly one state: by entity tags if both have one, else by size *and* time."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        known = self.mtime is not None and self.size is not None
        return known and (self.mtime, self.size) == (other.mtime, other.size)

    def same_bytes(self, other: "Version") -> bool:
        """Say whether a part of one may be completed from the other: a weak entity tag doesn't promise that."""
        weak = any((one.etag or "").startswith("W/") for one in (self, other))
        return not weak and self.same(other)

    @classmethod
    def of_info(cls, info: Mapping[str, Any]) -> "Version":
        """Return the version that a file system's `info` tells."""
        size = info.get("size")
        return cls(
            size=int(size) if isinstance(size, int | float) else None,
            etag=next((str(info[name]) for name in _ETAGS if info.get(name)), None),
            mtime=next((_text(info[name]) for name in _TIMES if info.get(name)), None),
        )


def _text(time: Any) -> str:
    if isinstance(time, datetime):
        return time.astimezone(UTC).isoformat()
    return str(time)
