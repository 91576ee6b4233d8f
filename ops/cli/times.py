"""Times on the command line."""

import re
import time
from datetime import UTC, datetime

from ops.cli import exits
from ops.cli.errors import CliError

#: Help of an option that takes a time.
TIME = "As in 2026-11-28T11:40Z (without a zone: UTC), or how long ago: 30m, 2h, 3d."
_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def time_of(text: str | None, option: str) -> int | None:
    """Return a time in ms since the epoch, None for none. Raises CliError for what is no time."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return int((time.time() - int(ago[1]) * _UNITS[ago[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text.strip())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise CliError(f"{option} {text!r}: no time; {TIME[0].lower()}{TIME[1:]}", exits.USAGE) from None
