"""Files in a directory that a job could write to: it may have put links, FIFOs or directories in their place."""

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import orjson

#: Names of the special files (spec §3.4).
RUNNING, DONE = ".running", ".done"
JOB, CONTEXT, DOCKER_PARAMS, RUN_SCRIPT = "_job.json", "_context.json", "_docker_params.json", "_run.sh"
STDOUT, STDERR, EXIT_CODE, PID = "_stdout.txt", "_stderr.txt", "_exit_code", "_pid"
#: Takes the room that the exit code will need, so that it can be written on a full disk too.
EXIT_CODE_HOLD = ".exit_code_hold"
ALT_ERROR, ALT_TRACEBACK = "_alt_error.txt", "_alt_traceback.txt"
ALT_MSG, ALT_MSG_DETAILS = "_alt_msg.txt", "_alt_msg_details.txt"


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put a file in place whole, over a file or link of that name; follows no link. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Put a JSON file in place, made for people's eyes; what JSON has no words for becomes text. Raises OSError."""
    try:
        data = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # Integers beyond 64 bits, and names of files that are no UTF-8.
        data = json.dumps(value, default=str, indent=2).encode()
    write(path, data)


def read(path: Path, limit: int) -> bytes | None:
    """Return a regular file's first `limit` bytes; None if there is none at that very name, or it can't be read."""
    with contextlib.suppress(OSError), _regular(path, os.O_RDONLY) as descriptor:
        if descriptor is not None:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit)
    return None


def write_held(hold: Path, path: Path, data: bytes) -> None:
    """Put a file in place by way of one that was written before and is no shorter, so that no disk is needed for it.

    Where that one isn't a file of its own any more, the file is written anew. Raises OSError.
    """
    try:
        descriptor = os.open(hold, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        write(path, data)
        return
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size >= len(data)
        if ours:
            file.write(data)
            file.truncate(len(data))
    if ours:
        hold.replace(path)
    else:
        write(path, data)


def append(path: Path, data: bytes) -> None:
    """Add to a regular file that has that very name and no other; whatever goes wrong, nothing happens."""
    with contextlib.suppress(OSError), _regular(path, os.O_WRONLY | os.O_APPEND) as descriptor:
        if descriptor is not None and os.fstat(descriptor).st_nlink == 1:
            os.write(descriptor, data)


@contextlib.contextmanager
def _regular(path: Path, flags: int) -> Iterator[int | None]:
    """Open what is at that very name; None if that is no regular file. Waits for nobody. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)
