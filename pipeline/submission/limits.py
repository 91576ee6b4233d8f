"""Time limits of a job (spec §1.5)."""


def chosen(configured: int | None, submitted: int | None) -> int | None:
    """Return the limit that counts: a creator's configuration overrides the submission."""
    return submitted if configured is None else configured


def with_gap(soft: int | None, hard: int | None, gap: int) -> int | None:
    """Return the hard limit (s): where a soft one is set, at least `gap` seconds later than that.

    >>> with_gap(100, None, 300), with_gap(100, 400, 300), with_gap(100, 401, 300), with_gap(None, 5, 300)
    (400, 400, 401, 5)
    """
    if soft is not None and (hard is None or hard <= soft + gap):
        return soft + gap
    return hard
