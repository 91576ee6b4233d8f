"""What a job measured itself: `*pge_metrics.json` and `*_docker_stats.json` below its directory (spec §3.4)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.nesting import MOST_LEVELS, is_too_deep
from pipeline.work import files
from pipeline.work.walking import files_below

PGE_METRICS, DOCKER_STATS = "pge_metrics.json", "_docker_stats.json"
#: Bytes of one metrics file and of all of a kind, and files of a kind, that are read.
_FILE_LIMIT, _ALL_LIMIT, _FILES = 4 << 20, 16 << 20, 1000
#: Statistics files of which it is said that they could not be used.
_NOTES = 20
#: Fields that are no objects, of what was brought or published and of what was used (spec §3.2).
_MOVED = frozenset(
    ("url", "path", "disk_usage", "time_start", "time_end", "duration", "transfer_rate", "cached", "id", "urls")
) | frozenset(("browse_urls", "dataset", "ipath", "system_version", "dataset_level", "dataset_type", "index"))
_USED = frozenset(("wall_time", "user_cpu_time", "sys_cpu_time", "max_memory", "read_bytes", "written_bytes"))


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

    Links are not followed. Raises MetricsError for a `*pge_metrics.json` that is no object of lists of objects, too
    long, or one too many: a job that measures wrongly has failed (spec §3.1 step 18).
    """
    found = Metrics()
    paths: dict[str, list[str]] = {PGE_METRICS: [], DOCKER_STATS: []}
    for path, status in files_below(directory):
        found.job_dir_size += status.st_size
        for suffix, kept in paths.items():
            # one more than are read: it is what is complained of
            if path.endswith(suffix) and len(kept) <= _FILES:
                kept.append(path)
    for suffix, kept in paths.items():
        read = 0
        for number, path in enumerate(sorted(kept)):
            read += _take(found, Path(path), suffix, number >= _FILES or read > _ALL_LIMIT)
    return found


def size_of(directory: Path) -> int:
    """Return the size of all files below a directory in bytes, links as themselves."""
    return sum(status.st_size for _, status in files_below(directory))


def _take(found: Metrics, path: Path, suffix: str, too_many: bool) -> int:
    """Add what a file says; return how many bytes that took."""
    try:
        value, size = _load(path, too_many)
        if suffix == DOCKER_STATS:
            found.usage_stats.extend(_entries(value if isinstance(value, list) else [value], _USED, path))
            return size
        if not isinstance(value, dict):
            raise MetricsError(f"{path}: not an object")
        found.inputs_localized.extend(_list(value, "download", path))
        found.products_staged.extend(_list(value, "upload", path))
    except MetricsError as error:
        if suffix == PGE_METRICS:
            raise
        if len(found.notes) < _NOTES:
            found.notes.append(str(error))
        return 0
    return size


def _load(path: Path, too_many: bool) -> tuple[Any, int]:
    if too_many:
        raise MetricsError(f"{path}: more than {_FILES} such files, or than {_ALL_LIMIT} bytes of them")
    data = files.read(path, _FILE_LIMIT + 1)
    if data is None or len(data) > _FILE_LIMIT:
        raise MetricsError(f"{path}: not a file of at most {_FILE_LIMIT} bytes")
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise MetricsError(f"{path}: no JSON: {error}") from error
    if is_too_deep(value):
        raise MetricsError(f"{path}: nested deeper than {MOST_LEVELS} levels")
    return value, len(data)


def _list(value: dict[str, Any], key: str, path: Path) -> list[Any]:
    items = value.get(key, [])
    if not isinstance(items, list):
        raise MetricsError(f"{path}: `{key}` is no list")
    return _entries(items, _MOVED, path)


def _entries(items: list[Any], plain: frozenset[str], path: Path) -> list[Any]:
    """Return the items. Raises MetricsError for one that is no object, or has one where an index has a plain value:
    the index would refuse the whole job's document for it."""
    for item in items:
        if not isinstance(item, dict):
            raise MetricsError(f"{path}: {str(item)[:80]!r} is no object")
        for name in plain & item.keys():
            values = item[name] if isinstance(item[name], list) else [item[name]]
            if any(isinstance(value, dict | list) for value in values):
                raise MetricsError(f"{path}: `{name}` is neither a plain value nor a list of some")
    return items
