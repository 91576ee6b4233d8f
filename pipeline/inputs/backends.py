"""fsspec's file systems by scheme, with the operator's options; each is imported when the first input needs it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline.inputs.errors import RefusedError
from pipeline.inputs.request import Input

#: What to install for the schemes that need more than jobstream itself.
EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "abfs": "azure", "abfss": "azure", "sftp": "sftp"}
#: File systems that are kept for other inputs.
_SHARED = 32
#: Bytes of a storage file.
_MAX_FILE = 1 << 20

Options = Mapping[str, Mapping[str, Any]]


class Backends:
    """`options` are what file systems are made with, by the beginning of URLs: the longest one that fits counts."""

    def __init__(self, options: Options | None = None, stall: float = 60.0) -> None:
        """`stall` is the seconds that a connection may be silent."""
        self._options = dict(options or {})
        self._stall = stall
        self._lock = threading.Lock()
        # the one used last is the last
        self._shared: dict[str, Any] = {}

    def connect(self, one: Input) -> tuple[Any, str, bool]:
        """Return a file system, the path there, and whether it is the caller's own to close.

        Raises RefusedError, which says what to install, if its backend is missing; connecting may raise what it does.
        """
        kind = self.kind(one)
        prefix, options = self.options(one)
        path = kind._strip_protocol(one.url)
        of_url = kind._get_kwargs_from_urls(one.url)
        given = {**of_url, **self._bounded(one.scheme, options), "skip_instance_cache": True}
        if not kind.async_impl:
            return kind(**given), path, True
        key = f"{one.scheme} {prefix} {sorted(of_url.items())}"
        with self._lock:
            shared = self._shared.pop(key, None) or kind(**given)
            self._shared[key] = shared
            if len(self._shared) > _SHARED:
                del self._shared[next(iter(self._shared))]
        return shared, path, False

    def kind(self, one: Input) -> Any:
        """Return the class of an input's file system; raises RefusedError."""
        import fsspec

        try:
            if one.scheme == "sftp":
                from pipeline.inputs.sftp import KnownHostsFileSystem

                return KnownHostsFileSystem
            return fsspec.get_filesystem_class(one.scheme)
        except (ImportError, ValueError) as error:
            extra = EXTRAS.get(one.scheme)
            hint = f"install jobstream[{extra}] on the worker" if extra else str(error)
            raise RefusedError(f"{one.shown}: {one.scheme} inputs need more than is installed: {hint}") from error

    def options(self, one: Input) -> tuple[str, Mapping[str, Any]]:
        """Return the operator's options for a URL, and the beginning that they stand under."""
        return options_for(one.url, self._options)

    def _bounded(self, scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Add time-outs, and no listing caches: what another process changed must be seen."""
        made: dict[str, Any] = {"use_listings_cache": False, **options}
        if scheme == "s3":
            limits = {"connect_timeout": min(15.0, self._stall), "read_timeout": self._stall}
            made["config_kwargs"] = {**limits, "retries": {"max_attempts": 1}, **options.get("config_kwargs", {})}
        elif scheme in ("ftp", "sftp"):
            made.setdefault("timeout", self._stall)
        return made


def options_for(url: str, options: Options) -> tuple[str, Mapping[str, Any]]:
    """Return the longest beginning of a URL that has options, and those; an empty one where none has."""
    fits = [prefix for prefix in options if _fits(url, prefix)]
    if not fits:
        return "", {}
    longest = max(fits, key=len)
    return longest, options[longest]


def _fits(url: str, prefix: str) -> bool:
    """Say whether a URL is below a prefix, which may be a scheme: `s3://data` is not a beginning of `s3://database`."""
    if "://" not in prefix:
        return url.lower().startswith(f"{prefix.lower()}://")
    return url == prefix or url.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def load_options(path: Path | None) -> Options:
    """Read a storage file, `{"s3://bucket": {…}, "https": {…}}`; raises ValueError, which shows none of its values."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            value = orjson.loads(file.read(_MAX_FILE + 1))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON (line {error.lineno})") from error
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ValueError(f"{path}: an object of objects is needed, by scheme or by beginning of URLs")
    return value
