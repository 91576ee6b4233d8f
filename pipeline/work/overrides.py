"""What a job says itself about how it ended: the `_alt_*.txt` files (spec §3.1 step 21, §3.2)."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.shortening import short_error
from pipeline.work import files
from pipeline.work.errors import ERROR_LIMIT, TRACEBACK_LIMIT

#: Bytes of the messages file that are read, and lines of it that are kept.
_MSG_BYTES, _MSG_LINES = 65536, 100


@dataclass(frozen=True, slots=True)
class Overrides:
    """The texts, None or empty where the job left none; whatever bytes they held."""

    error: str | None = None
    traceback: str | None = None
    msg: tuple[str, ...] = ()
    msg_details: str | None = None

    @classmethod
    def read(cls, directory: Path) -> "Overrides":
        """Read them: each cut to a bound, each line of the messages shortened as errors are."""
        lines = (_text(directory / files.ALT_MSG, _MSG_BYTES) or "").splitlines()
        return cls(
            error=_text(directory / files.ALT_ERROR, ERROR_LIMIT),
            traceback=_text(directory / files.ALT_TRACEBACK, TRACEBACK_LIMIT),
            msg=tuple(short_error(line) for line in lines[:_MSG_LINES] if line.strip()),
            msg_details=_text(directory / files.ALT_MSG_DETAILS, TRACEBACK_LIMIT),
        )


def _text(path: Path, limit: int) -> str | None:
    data = files.read(path, limit)
    return (data or b"").decode(errors="replace").replace("\0", "").strip() or None
