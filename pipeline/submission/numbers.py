"""Bounds on JSON that a record carries: what our encoders could not write again, or not without changing it."""

import json
import re
from typing import Any

#: Levels of arrays and objects inside a submission.
MAX_DEPTH = 100
_LONG_DIGITS = re.compile(r"\d{19}", re.ASCII)
_INTEGERS = range(-(2**63), 2**64)


def check_integers(text: str | bytes) -> None:
    """Raise ValueError where the JSON text holds an integer of more than 64 bits, which would lose its last digits."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    # a cheap look first: nearly no submission has so many digits in a row
    if _LONG_DIGITS.search(text):
        json.loads(text, parse_int=_checked_integer)


def _checked_integer(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in _INTEGERS:
        raise ValueError(f"integers of more than 64 bits can't be carried, send {digits[:30]} as a text")
    return int(digits)


def check_depth(value: Any) -> None:
    """Raise ValueError where arrays and objects are nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"arrays and objects are nested deeper than {MAX_DEPTH} levels")
