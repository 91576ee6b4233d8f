"""Users that commands run as, and the working directories that those may write to."""

import os
import re
from pathlib import Path

from pipeline.containers.errors import RefusedError

#: Who jobs run as where the worker itself is root.
UNPRIVILEGED = "10001:10001"
_USER = re.compile(r"[0-9]{1,9}:[0-9]{1,9}")


def default_user() -> str:
    """Return the worker's own `uid:gid`, or an unprivileged one if the worker is root."""
    return UNPRIVILEGED if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


def parse_user(user: str) -> tuple[int, int]:
    """Return uid and gid of a `uid:gid`; raises RefusedError for anything else, and for root."""
    if not _USER.fullmatch(user):
        raise RefusedError(f"user {user!r} isn't uid:gid in numbers")
    uid, gid = (int(part) for part in user.split(":"))
    if uid == 0 or gid == 0:
        raise RefusedError(f"user {user!r} is root")
    return uid, gid


def give(directory: Path, uid: int, gid: int) -> None:
    """Make a directory and all in it the user's, following no symlink.

    Only root can, so that for another worker it is enough that the user is its own. Raises RefusedError if the user
    could not write there.
    """
    if os.geteuid() != 0:
        if os.geteuid() != uid:
            raise RefusedError(f"a worker that isn't root can't give {directory} to user {uid}")
        return
    os.chown(directory, uid, gid, follow_symlinks=False)
    for folder, folders, files in os.walk(directory):
        for name in folders + files:
            os.chown(Path(folder) / name, uid, gid, follow_symlinks=False)
