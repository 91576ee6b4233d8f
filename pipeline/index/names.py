"""Names of indices and aliases, each behind the installation's index prefix."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: alias of every job's current document
JOBS = "job_status"
#: the same, under HySDS's second name for it
JOBS_CURRENT = "job_status-current"
#: alias of every fact
EVENTS = "job_events"
#: alias of every task's current document, and HySDS's second name for it
TASKS, TASKS_CURRENT = "task_status", "task_status-current"
#: alias of every dataset's document
DATASETS = "grq"

#: Elasticsearch takes no longer ids and index names (bytes)
ID_LIMIT = 512
NAME_LIMIT = 255

#: of one dataset's index
_MOST_ALIASES = 20
_DAY_MS = 86_400_000
_JOB_INDEX = re.compile(r"job_status-\d{4}\.\d{2}\.\d{2}")
_UNFIT = re.compile(r"[^a-z0-9_.-]+")


def is_job_index(name: object) -> bool:
    """Whether this is a day's index of job documents, as facts name it (without prefix)."""
    return isinstance(name, str) and _JOB_INDEX.fullmatch(name) is not None


def events_index(time_ms: int) -> str:
    """Return the index of the facts of that time's day (UTC); raises ValueError for a time that is none."""
    return _index_of_day(EVENTS, time_ms // _DAY_MS)


def tasks_index(time_ms: int) -> str:
    """Return the index of the tasks that were queued on that time's day (UTC); raises ValueError for none."""
    return _index_of_day(TASKS, time_ms // _DAY_MS)


@lru_cache(maxsize=128)
def _index_of_day(name: str, day: int) -> str:
    try:
        return f"{name}-{datetime.fromtimestamp(day * _DAY_MS / 1000, UTC):%Y.%m.%d}"
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"not a time: day {day}") from error


def dataset_aliases(document: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """Return further names that a dataset's document asks for its index: `grq-<alias>`, without an own `grq_` in front.

    No index is named so, and so an alias can't take the place of one that another dataset will need.
    """
    choice = document.get("index")
    wanted = choice.get("aliases") if isinstance(choice, Mapping) else None
    names = [name for name in wanted if isinstance(name, str) and name] if isinstance(wanted, list) else []
    made = (_UNFIT.sub("-", name.lower()).removeprefix(f"{DATASETS}_") for name in names[:_MOST_ALIASES])
    return tuple(dict.fromkeys(f"{prefix}{DATASETS}-{name}"[:NAME_LIMIT] for name in made))


def dataset_index(document: Mapping[str, Any], prefix: str = "") -> str:
    """Return the index of a dataset's document: `grq_<suffix>` or `grq_<version>_<dataset>`, lower case (spec §4.6).

    What no index name may hold becomes a hyphen. Raises ValueError where version or dataset are missing, or the
    name would be too long.
    """
    choice = document.get("index")
    suffix = choice.get("suffix") if isinstance(choice, Mapping) else None
    if not suffix:
        version, dataset = document.get("system_version"), document.get("dataset")
        if not (isinstance(version, str) and version and isinstance(dataset, str) and dataset):
            raise ValueError("a dataset's document needs system_version and dataset")
        suffix = f"{version}_{dataset}"
    name = f"{prefix}{DATASETS}_{_UNFIT.sub('-', str(suffix).lower())}"
    if len(name) > NAME_LIMIT:
        raise ValueError(f"index name of {len(name)} characters, at most {NAME_LIMIT} are possible")
    return name
