"""The registered job types, as jobs.settings has them."""

from collections.abc import Callable

import structlog

from agents.job_types import PREFIX, decoded
from pipeline.identity import is_registrable
from pipeline.jobtypes.job_type import JobType
from pipeline.submission.errors import UnacceptableError

log = structlog.stdlib.get_logger(__name__)


class JobTypes:
    """Filled by `fold`, from the thread that follows jobs.settings; asked by the one that takes submissions.

    `catch_up` reads that topic to its end. It is asked for where a type isn't known, once a batch: what was registered
    before a submission was sent is there when the submission is looked at.
    """

    def __init__(self, catch_up: Callable[[], None]) -> None:
        self._catch_up = catch_up
        self._types: dict[str, JobType | str] = {}
        self._caught_up = False

    def begin_batch(self) -> None:
        """Say that new submissions have come."""
        self._caught_up = False

    def of(self, name: str) -> JobType | None:
        """Return the type of a name, None for one that isn't registered.

        Raises UnacceptableError for one whose record can't be used, OSError where the broker can't be reached.
        """
        found = self._types.get(name)
        if found is None and not self._caught_up and is_registrable(name):
            self._catch_up()
            self._caught_up = True
            found = self._types.get(name)
        if isinstance(found, str):
            raise UnacceptableError(f"job type {name} can't be used as it is registered: {found}")
        return found

    def document(self, name: str) -> bytes | None:
        """Return the document of a registered type, None for one that isn't, or can't be used."""
        found = self._types.get(name)
        return found.dump() if isinstance(found, JobType) else None

    def fold(self, key: str, value: bytes | None) -> None:
        """Take in one record of jobs.settings; a type that can't be used is known as such."""
        if not key.startswith(PREFIX):
            return
        name = key.removeprefix(PREFIX)
        if value is None:
            self._types.pop(name, None)
            return
        try:
            self._types[name] = decoded(key, value)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("no job type on jobs.settings", key=key[:200], error=str(error)[:1000])
            self._types[name] = str(error)[:1000]
