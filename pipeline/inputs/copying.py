"""Copies out of the cache: whole or not at all; where the file system can, they share its blocks."""

import errno
import os
import secrets
from pathlib import Path

from pipeline.inputs.errors import DiskFullError
from pipeline.inputs.patience import Patience

#: Bytes between two looks at whether anybody still waits.
_CHUNK = 64 << 20
_NOT_HERE = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


def copy(source: int, target: Path, patience: Patience) -> None:
    """Copy an open file to a new name, with its folder; raises DiskFullError, OSError, or as Patience does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _pour(source, handle, patience)
        finally:
            os.close(handle)
        patience.check()
        temporary.replace(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"the disk of {target.parent} is full") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _pour(source: int, target: int, patience: Patience) -> None:
    size, done, in_kernel = os.fstat(source).st_size, 0, True
    while done < size:
        patience.check()
        try:
            if in_kernel:
                copied = os.copy_file_range(source, target, _CHUNK, done, done)
            else:
                copied = os.sendfile(target, source, done, _CHUNK)
        except OSError as error:
            if not in_kernel or error.errno not in _NOT_HERE:
                raise
            in_kernel = False
            os.lseek(target, done, os.SEEK_SET)
            continue
        if copied == 0:
            raise OSError(errno.EIO, "the cached file is shorter than it was")
        done += copied
