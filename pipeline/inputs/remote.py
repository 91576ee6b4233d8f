"""Files of whatever fsspec knows that can be read from any place on: local, S3, Google, Azure, FTP, SFTP."""

import errno
import ftplib
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from pipeline.inputs.backends import Backends
from pipeline.inputs.errors import InputError, MissingError, RefusedError, RetriableError
from pipeline.inputs.patience import Patience
from pipeline.inputs.request import Input
from pipeline.inputs.source import Part
from pipeline.inputs.version import Version
from pipeline.masking import without_secrets

#: Bytes of one read: of an object store, a request.
_READ = 8 << 20
#: Requests that an SFTP server is sent ahead.
_AHEAD = 64
#: HTTP statuses that trying again doesn't change.
_FINAL = (400, 401, 403, 404, 410)


class RemoteSource:
    """See Source."""

    def __init__(self, one: Input, backends: Backends) -> None:
        """Connect at the first use."""
        self.shown = one.shown
        self._input = one
        self._backends = backends
        self._connection: tuple[Any, str, bool] | None = None

    def open(self, known: Version | None, part: Part | None, patience: Patience) -> "RemoteStream | None":
        """See Source."""
        patience.check()
        try:
            fs, path = self._connect()
            version = Version.of_info(fs.info(path))
            if known is not None and version.same(known):
                return None
            start = part.size if part is not None and version.same_bytes(part.version) else 0
            return RemoteStream(self, version, start, self._open_at(fs, path, version, start))
        except Exception as error:
            self.close()
            raise self.translated(error) from error

    def info(self) -> dict[str, Any]:
        """Return what the file system says of the URL (fsspec's `info`); raises InputError."""
        try:
            fs, path = self._connect()
            return dict(fs.info(path))
        except Exception as error:
            self.close()
            raise self.translated(error) from error

    def find(self, most: int) -> dict[str, dict[str, Any]]:
        """Return the infos of all files below a directory, by their paths relative to it.

        Raises RefusedError for more than `most`, and for a listing that leads out of it; else InputError.
        """
        try:
            fs, path = self._connect()
            found = fs.find(path, detail=True) if fs.async_impl else self._below(fs, path, most)
        except Exception as error:
            self.close()
            raise self.translated(error) from error
        self._check_number(found, most)
        base = f"{path.rstrip('/')}/"
        inside = {name.removeprefix(base): info for name, info in found.items() if name != path}
        for name in inside:
            if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                raise RefusedError(f"{self.shown}: its listing names {name[:200]!r}")
        return inside

    def version(self) -> Version:
        """Ask for the version; raises InputError."""
        return Version.of_info(self.info())

    def close(self) -> None:
        """See Source."""
        connection, self._connection = self._connection, None
        if connection is not None and connection[2] and hasattr(connection[0], "close"):
            with suppress(Exception):
                connection[0].close()

    def translated(self, error: BaseException) -> InputError:
        """Return the error in our words, the URL's secrets masked."""
        if isinstance(error, InputError):
            return error
        said = without_secrets(f"{type(error).__name__}: {error}", self._input.url)[:1000]
        missing = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError)
        if missing or _is_final(error):
            return MissingError(f"{self.shown}: {said}")
        return RetriableError(f"{self.shown}: {said}")

    def _connect(self) -> tuple[Any, str]:
        if self._connection is None:
            self._connection = self._backends.connect(self._input)
        return self._connection[0], self._connection[1]

    def _below(self, fs: Any, path: str, most: int) -> dict[str, dict[str, Any]]:
        """Return what is below a folder; raises as `find` does.

        fsspec's `find` would go folder by folder too, and leave out those that it can't list.
        """
        found: dict[str, dict[str, Any]] = {}
        folders = [path.rstrip("/") or "/"]
        for folder in folders:
            for info in fs.ls(folder, detail=True):
                name = info["name"].rstrip("/")
                if info["type"] != "directory":
                    found[name] = info
                elif name != folder:
                    folders.append(name)
            self._check_number(found, most)
            self._check_number(folders[1:], most)
        return found

    def _check_number(self, found: Collection[str], most: int) -> None:
        if len(found) > most:
            raise RefusedError(f"{self.shown}: more than {most} files or folders")

    @staticmethod
    def _open_at(fs: Any, path: str, version: Version, start: int) -> Any:
        # a cache of the reader would fetch some bytes twice, and keep a block per file in memory
        file = fs.open(path, "rb", block_size=_READ, cache_type="none")
        file.seek(start)
        if hasattr(file, "prefetch") and version.size:
            file.prefetch(version.size, _AHEAD)
        return file


class RemoteStream:
    """See Stream."""

    def __init__(self, source: RemoteSource, version: Version, start: int, file: Any) -> None:
        self.version = version
        self.start = start
        self._source = source
        self._file = file

    def chunks(self, patience: Patience) -> Iterator[bytes]:
        """See Stream."""
        left = None if self.version.size is None else self.version.size - self.start
        while left is None or left > 0:
            patience.check()
            try:
                data = self._file.read(_READ if left is None else min(_READ, left))
            except Exception as error:
                self._source.close()
                raise self._source.translated(error) from error
            if not data:
                return
            left = None if left is None else left - len(data)
            yield data

    def confirm(self) -> None:
        """See Stream: asks for the version once more."""
        if not self._source.version().same(self.version):
            raise RetriableError(f"{self._source.shown}: it changed while it was read")

    def close(self) -> None:
        """See Stream."""
        with suppress(Exception):
            self._file.close()


def _is_final(error: BaseException) -> bool:
    """Say whether an answer is one that trying again doesn't change."""
    if isinstance(error, ftplib.error_perm):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return True
    name = type(error).__name__
    if name in ("NoCredentialsError", "BadHostKeyException", "AuthenticationException", "ParamValidationError"):
        return True
    if name == "SSHException" and "known_hosts" in str(error):
        return True
    status = getattr(error, "code", None) or getattr(error, "status", None)
    return status in _FINAL
