"""Printing: tables in a terminal, aligned text elsewhere, JSON where it is asked for."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ops.cli.session import Format, current

#: Characters of a cell that are shown.
_WIDEST = 200
_COLOURS = {
    "job-queued": "yellow",
    "job-started": "cyan",
    "job-completed": "green",
    "job-failed": "red",
    "job-revoked": "magenta",
    "job-offline": "red",
    "attempt-failed": "red",
    "job-deduped": "blue",
    "task-queued": "yellow",
    "task-started": "cyan",
    "task-retried": "yellow",
    "task-succeeded": "green",
    "task-failed": "red",
    "up": "green",
    "down": "red",
}


def is_terminal() -> bool:
    """Say whether a person reads the output."""
    return sys.stdout.isatty()


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print one value as JSON, on one line without `indent`; or as YAML, a document each, where that is asked for."""
    if current().output is Format.YAML:
        import yaml

        plain = json.loads(json.dumps(value, default=str))
        sys.stdout.write(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, explicit_start=not indent))
        sys.stdout.flush()
        return
    line(json.dumps(value, ensure_ascii=False, indent=2 if indent else None, default=str), clean=False)


def line(text: str, *, clean: bool = True) -> None:
    """Print a line at once; without control characters, since most texts here come from jobs."""
    sys.stdout.write(f"{printable(text) if clean else text}\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "") -> None:
    """Print a table; `empty` is what is said on standard error where it has no rows."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells and empty:
        sys.stderr.write(f"{empty}\n")
        return
    if is_terminal():
        from rich.console import Console

        Console().print(rich_table(columns, cells))
        return
    widths = [max(len(row[number]) for row in [columns, *cells]) for number in range(len(columns))]
    for row in [[name.upper() for name in columns], *cells]:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line("  ".join(padded).rstrip())


def listing(
    wanted: Format,
    records: Sequence[Any],
    names: Iterable[str],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    empty: str = "",
    *,
    more: int = 0,
) -> None:
    """Print things as it is wanted: `records` as JSON or YAML, `names` a line each, or a table of `rows`.

    The last `more` columns are shown where it is to be wide.
    """
    match wanted:
        case Format.JSON | Format.YAML:
            print_json(records)
        case Format.NAME:
            for name in names:
                line(name)
        case Format.WIDE:
            table(columns, rows, empty)
        case _:
            shown = len(columns) - more
            table(columns[:shown], [row[:shown] for row in rows], empty)


def rich_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """Return a table for a terminal; statuses get their colours, and no cell is taken for markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(_cell(value), style=_COLOURS.get(_cell(value), "")) for value in row))
    return made


def pairs(values: Iterable[tuple[str, Any]]) -> None:
    """Print names with their values, those without a value left out."""
    known = [(name, _cell(value)) for name, value in values if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        line(f"{name.ljust(width)}  {value}")


def printable(text: str) -> str:
    """Return the text without what would move the cursor or change the terminal; tabs and line ends become spaces."""
    return "".join(char if char.isprintable() else " " if char in "\t\n\r" else "�" for char in text)


def ago(time_ms: float | None) -> str:
    """Return how long ago a moment was (ms since the epoch), in two units at most."""
    if time_ms is None:
        return ""
    return duration(time.time() - time_ms / 1000)


def duration(seconds: float) -> str:
    """Return a duration in two units at most.

    >>> duration(7265), duration(4.2), duration(90_061)
    ('2h 1m', '4s', '1d 1h')
    """
    whole = max(0, int(seconds))
    units = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[tuple[int, str]] = []
    for name, size in units:
        count, whole = divmod(whole, size)
        if count or parts or name == "s":
            parts.append((count, name))
    return " ".join(f"{count}{name}" for count, name in parts[:2] if count) or "0s"


def moment(time_ms: float) -> str:
    """Return a time (ms since the epoch) in UTC, to the millisecond."""
    seconds, rest = divmod(int(time_ms), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"


def mib(size: int) -> str:
    """Return bytes as MiB."""
    return f"{size / (1 << 20):.0f} MiB" if size else ""


def _cell(value: Any) -> str:
    text = printable("" if value is None else str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
