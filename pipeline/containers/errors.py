"""Why an engine could not run a command."""

#: Exit codes that stand for a command that never ran (the convention of shells and of `docker run`).
ENGINE_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
#: What an engine says of an image that it can't take when that isn't the image's fault.
ITS_OWN = ("no space left on device", "disk quota exceeded", "read-only file system")


class EngineError(Exception):
    """The command could not be run; `exit_code` is the one that its outcome shows."""

    def __init__(self, message: str, exit_code: int = ENGINE_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RefusedError(EngineError):
    """A mount, option, user or image that this engine's settings don't allow."""


class UnavailableError(EngineError):
    """The engine itself doesn't answer or doesn't work: another worker may well run the same command."""
