"""A payload from the command line: `--param name=value` and `--payload FILE`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from ops.cli import exits
from ops.cli.errors import CliError
from pipeline.topology import SUBMISSION_LIMIT


def payload_of(params: Iterable[str], file: str | None) -> dict[str, Any]:
    """Return the payload: the file's JSON object, with the params put over it. Raises CliError."""
    payload = {} if file is None else read_payload(file)
    for param in params:
        name, equals, value = param.partition("=")
        if not equals or not name:
            raise CliError(f"--param {param!r}: name=value is needed", exits.USAGE)
        payload[name] = value_of(value)
    return payload


def value_of(text: str) -> Any:
    """Return the text as JSON where it is JSON, else as it is.

    >>> value_of("3"), value_of("[1, 2]"), value_of("2024-06-01"), value_of('"3"')
    (3, [1, 2], '2024-06-01', '3')
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def read_payload(file: str) -> dict[str, Any]:
    """Return the JSON object in a file, `-` for standard input. Raises CliError."""
    name = "standard input" if file == "-" else file
    data = _read(file)
    if len(data) > SUBMISSION_LIMIT:
        raise CliError(
            f"{name} is too large: a submission may have {SUBMISSION_LIMIT // 1024} KiB; put large inputs where jobs "
            "can fetch them, and name their URLs in localize_urls",
            exits.USAGE,
        )
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CliError(f"{name} is no JSON: {error}", exits.USAGE) from error
    if not isinstance(payload, dict):
        raise CliError(f"{name}: a payload is a JSON object, not a {type(payload).__name__}", exits.USAGE)
    return payload


def _read(file: str) -> bytes:
    """Return what the file holds, one byte more than allowed at most."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(SUBMISSION_LIMIT + 1)
        with Path(file).open("rb") as source:
            return source.read(SUBMISSION_LIMIT + 1)
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}", exits.USAGE) from error
