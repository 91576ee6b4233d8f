"""Errors as tables show them."""


def short_error(error: str) -> str:
    """Return an error of at most 35 characters: a longer one's first 20 and last 10 (spec §3.2).

    >>> short_error("x" * 20 + "-" * 99 + "y" * 10)
    'xxxxxxxxxxxxxxxxxxxx.....yyyyyyyyyy'
    """
    return error if len(error) <= 35 else f"{error[:20]}.....{error[-10:]}"
