"""A job's work directory on this host: what it printed, in files."""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.cli.errors import say

if TYPE_CHECKING:
    from pipeline.messages.fact import Fact

_FILES = {"stdout": "_stdout.txt", "stderr": "_stderr.txt"}
_CHUNK = 1 << 16


def work_directory(facts: "Sequence[Fact]", attempt: int) -> Path | None:
    """Return the attempt's work directory, if a fact names one that is here."""
    for fact in reversed(facts):
        folder = _info(fact).get("job_dir") if fact.attempt == attempt else None
        if isinstance(folder, str) and folder.startswith("/"):
            return Path(folder) if Path(folder).is_dir() else None
    return None


def copy(folder: Path, streams: Sequence[str], write: Callable[[str, bytes], None]) -> None:
    """Hand over what is in the streams' files; a job's symbolic link is not followed."""
    for stream in streams:
        path = folder / _FILES[stream]
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            say(f"jobstream: {path}: {error.strerror}")
            continue
        with os.fdopen(descriptor, "rb") as source:
            while chunk := source.read(_CHUNK):
                write(stream, chunk)


def nowhere(job_id: str, latest: "Fact") -> str:
    """Say why there is nothing to print."""
    info = _info(latest)
    node, folder, host = info.get("execute_node"), info.get("job_dir"), socket.gethostname()
    if folder is None:
        return f"{job_id} is {latest.status}: it has printed nothing yet; -f waits for it"
    if node and node not in {host, socket.getfqdn()}:
        return f"{job_id}: jobs.logs has no logs of it any more; {folder} on {node} may have them"
    return f"{job_id}: jobs.logs has no logs of it any more, and {folder} is not on this host, or was cleaned up"


def _info(fact: "Fact") -> dict[str, Any]:
    import orjson

    try:
        info = orjson.loads(fact.document)["job"]["job_info"]
    except (ValueError, KeyError, TypeError):
        return {}
    return info if isinstance(info, dict) else {}
