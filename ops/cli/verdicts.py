"""Printing what `replay verify` found."""

from typing import Any

import orjson

from ops.cli.errors import say
from ops.cli.output import line, print_json, table
from ops.replaying.verifying import Verdict
from pipeline.replay.comparison import DIFFERS, MISSING, UNEXPECTED, Divergence
from pipeline.replay.difference import ABSENT

#: Fields of one fact that are shown.
_FIELDS = 12


def show(verdicts: list[Verdict], limit: int, *, as_json: bool) -> bool:
    """Print the verdicts; say whether nothing differs."""
    divergences = [(verdict.partition, one) for verdict in verdicts for one in verdict.divergences]
    if as_json:
        print_json({"equal": not divergences, "partitions": [verdict.record() for verdict in verdicts]})
        return not divergences
    for partition, one in divergences[:limit]:
        _show(partition, one)
    if len(divergences) > limit:
        line(f"… and {len(divergences) - limit} jobs more (--limit)")
    columns = ("partition", "messages", "facts equal", "repeated", "jobs that differ", "not judged")
    table(columns, [_row(verdict) for verdict in verdicts])
    for verdict in verdicts:
        for note in (*_buried(verdict), *verdict.notes):
            say(f"jobstream: partition {verdict.partition}: {note}")
    return not divergences


def _row(verdict: Verdict) -> tuple[Any, ...]:
    unjudged = ", ".join(f"{count}: {why}" for why, count in sorted(verdict.unjudged.items()))
    return (
        verdict.partition,
        verdict.messages,
        verdict.equal,
        verdict.repeated,
        len(verdict.divergences),
        unjudged or "0",
    )


def _buried(verdict: Verdict) -> list[str]:
    return [f"{verdict.buried} records were no message, or could not be applied"] if verdict.buried else []


def _show(partition: int, divergence: Divergence) -> None:
    line(
        f"{divergence.job_id}  fact {divergence.seq}, inbox {partition}/{divergence.offset}: {divergence.kind}"
        f"{' (recorded → today)' if divergence.kind == DIFFERS else ''}"
    )
    if divergence.kind in {UNEXPECTED, MISSING}:
        told = {
            change.path: change.before if divergence.kind == UNEXPECTED else change.after
            for change in divergence.changes
        }
        line(f"    {told.get('status')}, attempt {told.get('attempt')}{_why(told)}")
        return
    for change in divergence.changes[:_FIELDS]:
        line(f"    {change.path}: {value_of(change.before)} → {value_of(change.after)}")
    if len(divergence.changes) > _FIELDS:
        line(f"    … and {len(divergence.changes) - _FIELDS} fields more (-o json)")


def _why(told: dict[str, Any]) -> str:
    why = told.get("short_error") or told.get("reason")
    return f": {why}" if why else ""


def value_of(value: Any) -> str:
    """Return a field's value as text of bounded length."""
    if value is ABSENT:
        return "–"
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= 100 else f"{text[:99]}…"
