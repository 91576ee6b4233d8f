"""How much may be brought, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one attempt's inputs."""

    #: Files, those inside directories included.
    files: int = 10_000
    #: Bytes of all of them.
    total: int = 1 << 40
    #: Files at once.
    parallel: int = 4
    #: Seconds that all may take, and one file.
    seconds: float = 6 * 3600.0
    file_seconds: float = 2 * 3600.0
    #: Tries in a row that bring nothing, after which a file is given up.
    tries: int = 5
    #: Seconds before the second try; doubles, with jitter, up to the second number.
    backoff: float = 1.0
    backoff_max: float = 30.0
    #: Seconds without an answer, or without a byte, after which a try is given up.
    stall: float = 60.0
    #: Seconds since it was last known to be current that a cached file is good for if the other side doesn't answer.
    stale: float = 0.0
