"""The numbers that the scheduler decides by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """All in ms; the defaults are those of `pipeline.settings.SchedulerSettings`."""

    #: Without a status for this long a worker gets no jobs.
    silence_ms: int = 15_000
    #: An unanswered claim is sent again after this long.
    claim_retry_ms: int = 10_000
    #: A partition whose oldest open claim is older than this gets no more claims.
    slow_partition_ms: int = 2000
    #: How much waiting one priority is worth.
    priority_step_ms: int = 3_600_000
    #: A worker that handed a job back, or lost it, rests this long; twice as long the next time, and so on.
    rest_ms: int = 1000
    #: The longest rest.
    rest_max_ms: int = 60_000
    #: After this long without another loss a worker's rests start at the shortest again.
    rest_forget_ms: int = 600_000
    #: A worker that was silent for this long is forgotten.
    forget_ms: int = 3_600_000
