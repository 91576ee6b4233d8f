"""What a job asks for: `localize_urls`, and where each goes in its work directory (spec §4.1)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.inputs.errors import RefusedError
from pipeline.masking import masked
from pipeline.work import files

#: Names in a work directory that are not the job's to choose.
_RESERVED = frozenset(
    (
        *(files.RUNNING, files.DONE, files.JOB, files.CONTEXT, files.DOCKER_PARAMS, files.RUN_SCRIPT),
        *(files.STDOUT, files.STDERR, files.EXIT_CODE, files.PID),
        *(files.ALT_ERROR, files.ALT_TRACEBACK, files.ALT_MSG, files.ALT_MSG_DETAILS),
    )
)
#: Bytes of a file's name.
_NAME = 255
#: Characters of a path that are shown.
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Input:
    """One entry of `localize_urls`."""

    url: str
    local_path: str | None = None
    cache: bool = True

    @property
    def scheme(self) -> str:
        """The URL's scheme in small letters; a plain path's is `file`."""
        scheme, separator, _ = self.url.partition("://")
        return scheme.lower() if separator else "file"

    @property
    def shown(self) -> str:
        """The URL as logs and facts show it."""
        return readable(masked(self.url) if "://" in self.url else self.url[:_SHOWN])


def inputs_of(document: Mapping[str, Any]) -> list[Input]:
    """Return a job's inputs in their order, none where it names none; raises RefusedError for a malformed list."""
    entries = document.get("localize_urls") or []
    if not isinstance(entries, list):
        raise RefusedError("localize_urls is no list")
    return [_input(entry) for entry in entries]


def readable(text: str) -> str:
    """Return a path as messages can hold it, whatever bytes are in its names."""
    return os.fsencode(text).decode(errors="replace")


def _input(entry: Any) -> Input:
    if isinstance(entry, str):
        entry = {"url": entry}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("url"), str) or not entry["url"].strip():
        raise RefusedError("localize_urls: each entry needs a url, which is a text")
    path, cache = entry.get("local_path"), entry.get("cache", True)
    if path is not None and not isinstance(path, str):
        raise RefusedError(f"localize_urls: {masked(entry['url'])}: local_path is no text")
    if not isinstance(cache, bool):
        raise RefusedError(f"localize_urls: {masked(entry['url'])}: cache is neither true nor false")
    return Input(entry["url"].strip(), path or None, cache)


def target(one: Input, directory: Path) -> Path:
    """Return where an input goes: below the work directory, never on a name of its special files.

    Without `local_path` it goes directly into the directory, with one that ends with `/` or is a directory into that,
    under its own name; else `local_path` is its name. Raises RefusedError for paths that lead elsewhere.
    """
    path = PurePosixPath(one.local_path or ".")
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise RefusedError(f"{one.shown}: local_path {one.local_path!r} leads out of the work directory")
    if any(len(os.fsencode(part)) > _NAME for part in path.parts):
        raise RefusedError(f"{one.shown}: a name of more than {_NAME} bytes")
    place = directory / path
    if one.local_path is None or one.local_path.endswith("/") or place.is_dir():
        place /= name_of(one)
    if place.relative_to(directory).parts[0] in _RESERVED:
        raise RefusedError(f"{one.shown}: {place.name} is the name of a special file")
    for parent in (place, *place.parents):
        if parent == directory:
            return place
        if parent.is_symlink():
            break
    raise RefusedError(f"{one.shown}: {place.relative_to(directory)} can't be its place")


def name_of(one: Input) -> str:
    """Return the last part of a URL's path, raising RefusedError where that can't be a file's name."""
    if one.scheme in ("http", "https"):
        quoted = urlsplit(one.url).path.rpartition("/")[2]
        name = unquote(quoted)
        name = quoted if "/" in name else name
    else:
        name = one.url.rstrip("/").rpartition("/")[2]
        if "://" in one.url and one.scheme == "file":
            name = unquote(name, errors="surrogateescape")
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > _NAME:
        raise RefusedError(f"{one.shown}: it names no file")
    return name
