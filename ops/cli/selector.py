"""`--query name=value,…`: what a command picks from many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.times import time_of

if TYPE_CHECKING:
    from agents.index_reader import JobQuery

#: What jobs are picked by, beside `label.NAME`.
JOB_NAMES = ("status", "type", "queue", "tag", "user", "worker", "category", "submission", "hash", "since")
#: Stands for each label that a job asks its worker for.
LABELS = "label.NAME"
_LABEL, _LABEL_NAME = "label.", re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
Query = Annotated[
    list[str] | None,
    typer.Option(
        "--query",
        "--selector",
        "-q",
        metavar="NAME=VALUE,…",
        help=f"Jobs by what the index says of them: {', '.join(JOB_NAMES)}, label.NAME.",
    ),
]


def selected(texts: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values by name; raises CliError for a name that isn't among `names`, or comes twice."""
    found: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = part.partition("=")
        label = LABELS in names and name.startswith(_LABEL) and _LABEL_NAME.fullmatch(name[len(_LABEL) :])
        if not equals or not value or not (name in names or label) or name == LABELS:
            raise CliError(f"--query {part!r}: name=value is needed, of {', '.join(names)}", exits.USAGE)
        if name in found:
            raise CliError(f"--query: {name} comes twice", exits.USAGE)
        found[name] = value
    return found


def job_query(texts: Iterable[str]) -> JobQuery:
    """Return which jobs are picked; raises CliError for a name or a value that there isn't."""
    from agents.index_reader import JobQuery

    named = selected(texts, (*JOB_NAMES, LABELS))
    return JobQuery(
        status=full_status(named["status"]) if "status" in named else None,
        type=named.get("type"),
        queue=named.get("queue"),
        tag=named.get("tag"),
        user=named.get("user"),
        worker=named.get("worker"),
        category=named.get("category"),
        submission_id=named.get("submission"),
        payload_hash=named.get("hash"),
        since=moment_of(named["since"]) if "since" in named else None,
        labels={name[len(_LABEL) :]: value for name, value in named.items() if name.startswith(_LABEL)},
    )


def full_status(text: str) -> str:
    """Return the status in full: `failed` is `job-failed`. Raises CliError for one that there isn't."""
    from pipeline.statuses import Status

    full = text if text.startswith("job-") else f"job-{text}"
    known = [status.value for status in Status]
    if full not in known:
        raise CliError(f"status {text!r}: one of {', '.join(known)} is needed", exits.USAGE)
    return full


def moment_of(text: str) -> float:
    """Return a time in seconds since the epoch: 90s, 30m, 2h and 3d are so long ago, others ISO 8601, UTC by default.

    Raises CliError for anything else.
    """
    moment = time_of(text, "since")
    assert moment is not None, "only no text is no time"
    return moment / 1000
