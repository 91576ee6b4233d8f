"""`--query name=value,…`: what a command picks from many."""

import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ops.cli import exits
from ops.cli.errors import CliError

_AGO = re.compile(r"(\d+)([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def selected(texts: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values by name; raises CliError for a name that isn't among `names`, or comes twice."""
    found: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not value or name not in names:
            raise CliError(f"--query {part!r}: name=value is needed, of {', '.join(names)}", exits.USAGE)
        if name in found:
            raise CliError(f"--query: {name} comes twice", exits.USAGE)
        found[name] = value
    return found


def moment_of(text: str) -> float:
    """Return a time in seconds since the epoch: 90s, 30m, 2h and 3d are so long ago, others ISO 8601, UTC by default.

    Raises CliError for anything else.
    """
    if (ago := _AGO.fullmatch(text)) is not None:
        return time.time() - int(ago[1]) * _SECONDS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CliError(
            f"since {text!r}: 30m, 2h, 3d, or a time like 2026-01-31T12:00 is needed", exits.USAGE
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
