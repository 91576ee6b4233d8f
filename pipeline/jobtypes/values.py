"""What a parameter's type makes of a value, and refuses (spec §2.2)."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import orjson

from pipeline.submission.numbers import check_integers

#: Characters of a version: an operator's regular expression is tried on what a submitter wrote.
_VERSION = 200
_EMAIL = re.compile(r"[^\s@,;]+@[^\s@,;]+")
#: Integers above this a number, which is a double, can't hold.
_EXACT = 2**53


class Type(StrEnum):
    """Types of parameters."""

    TEXT = "text"
    TEXTAREA = "textarea"
    NUMBER = "number"
    DATETIME = "datetime"
    DATE = "date"
    BOOLEAN = "boolean"
    ENUM = "enum"
    EMAIL = "email"
    REGION = "region"
    CONTAINER_VERSION = "container_version"
    JOBSPEC_VERSION = "jobspec_version"
    HYSDSIO_VERSION = "hysdsio_version"
    OBJECT = "object"


def converted(kind: Type, value: Any, enumerables: tuple[Any, ...] = (), version_regex: str = "") -> Any:
    """Return the value as the type has it: numbers as floats, regions and objects as JSON, the rest as it is.

    A list from a dataset passes as text: inputs are often lists of URLs. Raises ValueError with what is expected.
    """
    if kind is Type.ENUM:
        if value not in enumerables:
            raise ValueError(f"one of {', '.join(map(str, enumerables))}")
        return value
    if kind in (Type.CONTAINER_VERSION, Type.JOBSPEC_VERSION, Type.HYSDSIO_VERSION):
        if not isinstance(value, str) or len(value) > _VERSION or not re.fullmatch(version_regex, value):
            raise ValueError(f"a version like {version_regex}")
        return value
    return _CONVERT[kind](value)


def _text(value: Any) -> Any:
    return value


def _number(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (isinstance(value, int) and abs(value) > _EXACT):
        raise ValueError("a number")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("true or false")


def _datetime(value: Any) -> str:
    return _checked(value, datetime.fromisoformat, "a date and time as in 2024-06-01T12:00:00Z")


def _date(value: Any) -> str:
    return _checked(value, date.fromisoformat, "a date as in 2024-06-01")


def _checked(value: Any, parse: Callable[[str], Any], expected: str) -> str:
    try:
        if isinstance(value, str):
            parse(value)
            return value
    except ValueError:
        pass
    raise ValueError(expected)


def _email(value: Any) -> str:
    addresses = [one.strip() for one in re.split(r"[,;]", value)] if isinstance(value, str) else []
    if not addresses or not all(_EMAIL.fullmatch(one) for one in addresses):
        raise ValueError("an e-mail address, or several with commas between")
    return str(value)


def _region(value: Any) -> Any:
    region = _json(value, "a GeoJSON object")
    if not isinstance(region, dict):
        raise ValueError("a GeoJSON object")
    return region


def _object(value: Any) -> Any:
    found = _json(value, "a list or an object, as JSON")
    if not isinstance(found, dict | list):
        raise ValueError("a list or an object, as JSON")
    return found


def _json(value: Any, expected: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        check_integers(value)
        return orjson.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(expected) from error


_CONVERT: Mapping[Type, Callable[[Any], Any]] = {
    Type.TEXT: _text,
    Type.TEXTAREA: _text,
    Type.NUMBER: _number,
    Type.BOOLEAN: _boolean,
    Type.DATETIME: _datetime,
    Type.DATE: _date,
    Type.EMAIL: _email,
    Type.REGION: _region,
    Type.OBJECT: _object,
}
