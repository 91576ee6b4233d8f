"""Exit codes of the worker; they don't change."""

from enum import IntEnum


class Exit(IntEnum):
    """Why the process ended."""

    #: It was told to stop, and all attempts ended or were handed back.
    OK = 0
    #: An actor kept failing, or something unforeseen happened.
    FAILED = 1
    #: The settings don't fit together; nothing was started.
    MISCONFIGURED = 2
    #: A process with this worker id runs on this machine already.
    TAKEN = 3
    #: A newer process with this worker id was seen.
    SUPERSEDED = 4
    #: It was told to stop, and reports could not be delivered in time: their leases will run out.
    UNDELIVERED = 5
