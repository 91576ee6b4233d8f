"""What a job measured itself: `*pge_metrics.json` and `*_docker_stats.json` below its directory (spec §3.4)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.work import files

PGE_METRICS, DOCKER_STATS = "pge_metrics.json", "_docker_stats.json"
#: Bytes of one metrics file, and files of a kind, that are read.
_FILE_LIMIT, _FILES = 4 << 20, 1000


class MetricsError(Exception):
    """A metrics file that can't be used."""


@dataclass(slots=True)
class Metrics:
    """What was found; `notes` name the statistics files that could not be used (which fails nothing)."""

    inputs_localized: list[Any] = field(default_factory=list)
    products_staged: list[Any] = field(default_factory=list)
    usage_stats: list[Any] = field(default_factory=list)
    job_dir_size: int = 0
    notes: list[str] = field(default_factory=list)


def collect(directory: Path) -> Metrics:
    """Read all metrics files and add up the directory's size (bytes; links count as themselves).

    Links are not followed. Raises MetricsError for a `*pge_metrics.json` that is no object of lists, too long, or
    one too many: a job that measures wrongly has failed (spec §3.1 step 18).
    """
    found = Metrics()
    counts = {PGE_METRICS: 0, DOCKER_STATS: 0}
    for path, size in _walk(directory):
        found.job_dir_size += size
        suffix = next((suffix for suffix in counts if path.name.endswith(suffix)), None)
        if suffix is not None:
            counts[suffix] += 1
            _take(found, path, suffix, counts[suffix])
    return found


def size_of(directory: Path) -> int:
    """Return the size of all files below a directory in bytes, links as themselves."""
    return sum(size for _, size in _walk(directory))


def _take(found: Metrics, path: Path, suffix: str, count: int) -> None:
    try:
        value = _load(path, count)
        if suffix == DOCKER_STATS:
            found.usage_stats.extend(value if isinstance(value, list) else [value])
            return
        if not isinstance(value, dict):
            raise MetricsError(f"{path}: not an object")
        found.inputs_localized.extend(_list(value, "download", path))
        found.products_staged.extend(_list(value, "upload", path))
    except MetricsError as error:
        if suffix == PGE_METRICS:
            raise
        found.notes.append(str(error))


def _load(path: Path, count: int) -> Any:
    if count > _FILES:
        raise MetricsError(f"{path}: more than {_FILES} such files")
    data = files.read(path, _FILE_LIMIT + 1)
    if data is None or len(data) > _FILE_LIMIT:
        raise MetricsError(f"{path}: not a file of at most {_FILE_LIMIT} bytes")
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise MetricsError(f"{path}: no JSON: {error}") from error


def _list(value: dict[str, Any], key: str, path: Path) -> list[Any]:
    items = value.get(key, [])
    if not isinstance(items, list):
        raise MetricsError(f"{path}: `{key}` is no list")
    return items


def _walk(directory: Path) -> Iterator[tuple[Path, int]]:
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            try:
                yield path, path.lstat().st_size
            except OSError:
                continue
