"""`$param`, in job-specs `${param}` too, as a whole word of a command: replaced by a value (spec §2.3)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

_NAMED = re.compile(r"\$(?:(\w+)|\{([^\s${}]+)\})")


class UnknownParameterError(ValueError):
    """A word names a parameter that isn't there; the text is the word."""


def parameter(word: str, *, braces: bool = True) -> str | None:
    """Return the parameter that a word stands for, None for any other word; `braces` says whether `${…}` counts.

    >>> parameter("$tile"), parameter("${min-lat}"), parameter("a$tile"), parameter("$")
    ('tile', 'min-lat', None, None)
    """
    named = _NAMED.fullmatch(word)
    return None if named is None else named[1] or (named[2] if braces else None)


def substituted(words: Iterable[str], values: Mapping[str, Any], *, braces: bool = True) -> list[str]:
    """Replace each word that stands for a parameter by its value's text; a list's items become a word each.

    What came from a value is not looked at again. Raises UnknownParameterError.
    """
    made: list[str] = []
    for word in words:
        name = parameter(word, braces=braces)
        if name is None:
            made.append(word)
        elif name not in values:
            raise UnknownParameterError(word)
        else:
            value = values[name]
            made.extend(map(text, value) if isinstance(value, list | tuple) else [text(value)])
    return made


def text(value: Any) -> str:
    """Return what `str` does, but JSON for what has structure."""
    return orjson.dumps(value, default=str).decode() if isinstance(value, dict | list) else str(value)
