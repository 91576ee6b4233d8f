"""Why an attempt failed, in the words of a status document (spec §3.2)."""

import traceback
from dataclasses import dataclass
from enum import StrEnum

#: Characters of an error and of a traceback that are kept.
ERROR_LIMIT, TRACEBACK_LIMIT = 8192, 65536


class Category(StrEnum):
    """What kind of failure, for retry policies."""

    #: The command ended with another exit code than 0, or by a signal.
    COMMAND = "command-failed"
    SOFT_LIMIT = "soft-time-limit"
    HARD_LIMIT = "hard-time-limit"
    OOM = "out-of-memory"
    STOPPED = "stopped"
    #: The job asks for what can't be run: no command, an unknown parameter, a refused mount.
    INVALID = "cannot-run"
    #: The work directory could not be made or used.
    WORK_DIR = "work-directory"
    #: Its container image, or one that it depends on, isn't there and could not be brought or loaded.
    IMAGE = "image"
    #: Its inputs could not be brought.
    INPUTS = "localize"
    #: A pre- or post-processor failed.
    PROCESSOR = "processor"
    #: Its products could not be published.
    PUBLISH = "publish"
    #: The engine or this program.
    WORKER = "worker"


class AttemptError(Exception):
    """An attempt can't go on."""

    def __init__(self, message: str, category: Category = Category.INVALID) -> None:
        super().__init__(message)
        self.category = category


@dataclass(frozen=True, slots=True)
class Failure:
    """What is said of a failed attempt; texts are bounded."""

    error: str
    category: Category
    traceback: str
    signum: int | None = None

    @classmethod
    def of(cls, error: BaseException, category: Category = Category.WORKER) -> "Failure":
        """Build it from an exception; an AttemptError brings its own category."""
        known = isinstance(error, AttemptError)
        return cls(
            error=(str(error) if known else f"{type(error).__name__}: {error}")[:ERROR_LIMIT],
            category=error.category if isinstance(error, AttemptError) else category,
            traceback="".join(traceback.format_exception(error))[-TRACEBACK_LIMIT:],
        )
