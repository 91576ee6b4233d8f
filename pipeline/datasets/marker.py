"""The file inside a published product that says whose it is, and what may happen to it."""

import os
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.datasets.errors import Collision, Fenced

#: Name of the marker in a product; a job can't publish a file of this name.
MARKER = ".jobstream.json"
#: bytes; a marker is a few hundred
_MAX_MARKER = 64 << 10
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Marker(BaseModel):
    """Which attempt made a product, held by whom, when (ISO 8601, UTC)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    job_id: Annotated[str, Field(pattern=rf"^{_JOB_ID.pattern}$")]
    attempt: Annotated[int, Field(ge=1)]
    holder: str
    payload_hash: str
    time: str

    def same_run(self, other: "Marker | None") -> bool:
        """Whether the other product was made by this very attempt in the same worker process."""
        return other is not None and (self.job_id, self.attempt, self.holder) == (
            other.job_id,
            other.attempt,
            other.holder,
        )


class Encounter(Enum):
    """What to do where the place of a product is taken already."""

    #: This attempt published it before: nothing to do.
    DONE = "done"
    #: Put the new one in its place, in one step.
    REPLACE = "replace"


def meet(ours: Marker, theirs: Marker | None, place: str, force: bool, orphaned: Callable[[Marker], bool]) -> Encounter:
    """Decide what happens at a taken place. `theirs` is None where what is there has no readable marker.

    Raises Fenced if a higher attempt of the same job is there, with or without `force`; Collision if it belongs to
    another job, `force` is off and it isn't `orphaned`, and always if it is nobody's product: force replaces
    products only (spec §4.5, decision 011).
    """
    if theirs is None:
        raise Collision(f"{place}: taken by something that is not a published product")
    if theirs.job_id != ours.job_id:
        if force or orphaned(theirs):
            return Encounter.REPLACE
        raise Collision(
            f"{place}: published by job {theirs.job_id} (attempt {theirs.attempt}, {theirs.time})",
            owner=theirs.job_id,
        )
    if theirs.attempt > ours.attempt:
        raise Fenced(f"{place}: published by attempt {theirs.attempt}, which is later than {ours.attempt}")
    return Encounter.DONE if theirs.attempt == ours.attempt else Encounter.REPLACE


def read_marker(product: Path) -> Marker | None:
    """The marker of a local product directory; None if there is none that can be read as one."""
    try:
        handle = os.open(product / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            return Marker.model_validate_json(file.read(_MAX_MARKER))
    except (OSError, ValidationError):
        return None
