"""Why inputs were not brought; messages name URLs without their secrets."""


class InputError(Exception):
    """Base of everything that `pipeline.inputs` raises on purpose: the attempt can't have this input."""


class RefusedError(InputError):
    """The job asks for what this worker does not bring: a scheme, host, path or size beyond what is allowed."""


class MissingError(InputError):
    """The other side says no, and would again: not found, not allowed, no such bucket."""


class CorruptError(InputError):
    """What was brought is not what its checksum says."""


class DiskFullError(InputError):
    """There is no space left for the input."""


class TimeLimitError(InputError):
    """It took longer than it may."""


class CancelledError(InputError):
    """Nobody waits for the inputs any more."""


class RetriableError(InputError):
    """This try failed, the next one may not: `after` is how many seconds the other side asked for, if it did."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class RestartError(RetriableError):
    """The part that is here is of no use: begin anew."""


class NoRoomError(InputError):
    """The cache can't take this file, because of its size or of what is in use; it can be brought past the cache."""
