"""Brace templates of the operator's rules: look-ups only, nothing that runs (spec §4.3).

`{name}` and `{name[key][0]}` are all there is: no attributes, conversions or format specifications, so a value that a
job wrote can't reach into the process that fills the template.
"""

import re
from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any

_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\[[^\[\]{}]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")
#: characters, of a filled template: the longest path that Linux takes
MAX_LENGTH = 4096


def check(template: str, allowed: Collection[str] | None = None) -> None:
    """Raise ValueError if `template` can't be filled whatever the values, or names none of `allowed`."""
    if "${" in template:
        raise ValueError(f"template {template!r} has '${{'; write {{name}} without the dollar sign")
    for _, name, _ in _fields(template):
        if name is not None and allowed is not None and name not in allowed:
            raise ValueError(f"template {template!r} names {{{name}}}; known are {', '.join(sorted(allowed))}")


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put values into a template.

    Raises ValueError for a name or key that isn't there, a value that is no text, number or truth value, and a
    result over MAX_LENGTH characters.
    """
    pieces = []
    for literal, name, keys in _fields(template):
        pieces.append(literal)
        if name is not None:
            pieces.append(_look_up(template, values, name, keys))
    text = "".join(pieces)
    if len(text) > MAX_LENGTH:
        raise ValueError(f"template {template!r} gives {len(text)} characters; at most {MAX_LENGTH} are allowed")
    return text


def _fields(template: str) -> list[tuple[str, str | None, list[str]]]:
    """(text before, name, keys) for each field; the name is None after the last one."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}") from error
    fields: list[tuple[str, str | None, list[str]]] = []
    for literal, field, specification, conversion in parsed:
        if field is None:
            fields.append((literal, None, []))
            continue
        match = _FIELD.fullmatch(field)
        if match is None or specification or conversion:
            raise ValueError(f"template {template!r}: only {{name}} and {{name[key]}} are allowed, not {field!r}")
        fields.append((literal, match[1], _KEY.findall(match[2])))
    return fields


def _look_up(template: str, values: Mapping[str, Any], name: str, keys: list[str]) -> str:
    if name not in values:
        raise ValueError(f"template {template!r}: no value for {{{name}}}")
    value = values[name]
    for key in keys:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise ValueError(f"template {template!r}: nothing at [{key}] of {{{name}}}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError(f"template {template!r}: {{{name}}} is {type(value).__name__}, not text or a number")
    return str(value)
