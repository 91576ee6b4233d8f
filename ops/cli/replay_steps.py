"""Printing the steps of a replayed job: coloured in a terminal, plain elsewhere."""

import sys
from dataclasses import replace
from typing import Any

import orjson

from ops.cli.output import is_terminal, line, moment, print_json, printable
from pipeline.ledger.decision import Dispatch
from pipeline.messages.command import Command
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Claim, Control, Due, Heartbeat, Inbox, OutputRefused, Rejected, Report, Submitted
from pipeline.replay.difference import ABSENT, Change
from pipeline.replay.history import History
from pipeline.replay.job import FINISHED, JobStep
from pipeline.statuses import REFUSALS

_INDENT = " " * 10
_WIDEST = 160
#: What of a job's state follows from its facts, which are shown anyway.
_IMPLIED = frozenset({"seq", "submission_id"})
#: What of a job's state are times in ms.
_TIMES = frozenset({"queued_at", "since", "started_at", "due", "time"})


class Shown:
    """Prints steps; messages about other jobs of the family are counted, unless everything is wanted."""

    def __init__(self, history: History, *, everything: bool, stop: bool) -> None:
        self._history = history
        self._everything = everything
        self._stop = stop
        self._skipped = 0
        self._console: Any = None
        if is_terminal():
            from rich.console import Console

            self._console = Console(highlight=False)
        first = history.records[0].timestamp if history.records else 0
        self._say(f"job {history.job_id}, inbox partition {history.partition}, from {moment(first)}", "bold")

    def show(self, step: JobStep) -> bool:
        """Print a step; say whether to go on."""
        if not self._everything and not step.concerns_job:
            self._skipped += 1
            return True
        self.close()
        record = step.record
        self._say(f"{record.offset:>8}  {moment(record.timestamp)}  {_told(record.message)}", "bold")
        for text, style in _lines(step):
            self._say(f"{_INDENT}{text}", style)
        return not self._stop or self._next(step)

    def close(self) -> None:
        """Say how many messages were left out since the last that was shown."""
        if self._skipped:
            many = "messages" if self._skipped > 1 else "message"
            self._say(f"{_INDENT}… {self._skipped} {many} about other jobs of the family (--all shows them)", "dim")
        self._skipped = 0

    def _say(self, text: str, style: str = "") -> None:
        if self._console is None:
            line(text)
        else:
            from rich.text import Text

            self._console.print(Text(printable(text), style=style))

    def _next(self, step: JobStep) -> bool:
        while True:
            sys.stderr.write("[Enter] next  [s] state  [q] quit: ")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            if not answer or answer.strip() == "q":
                return False
            if answer.strip() != "s":
                return True
            print_json(step.after)


def _lines(step: JobStep) -> list[tuple[str, str]]:
    return [
        *((f"  {step.effect}", "cyan") for _ in (1,) if step.effect),
        *((text, "yellow") for text in _changes(_shown(step))),
        *((f"  {one.path[:60]}: {_value(one.before)} → {_value(one.after)}", "dim") for one in step.others),
        *((_fact(one), "red" if one.status in REFUSALS else "green") for one in step.facts),
        *((_dispatch(one), "blue") for one in step.dispatches),
        *((_command(one), "magenta") for one in step.commands),
        *((f"! {text}", "bold red") for text in _otherwise(step)),
        *((f"✗ {step.why}", "red") for _ in (1,) if step.why and step.why not in (one.reason for one in step.facts)),
    ]


def _shown(step: JobStep) -> list[Change]:
    """Return the changes that tell something: what a finished job no longer holds doesn't."""
    ended = step.after is not None and step.after.get("is") == FINISHED
    return [
        one
        for one in step.changes
        if one.path not in _IMPLIED
        and not (ended and one.after is ABSENT)
        and not (one.before is ABSENT and one.after in (None, "", 0, False, [], {}))
    ]


def _otherwise(step: JobStep) -> list[str]:
    """Return where the log has other facts of this message than today's code makes."""
    made = {fact.seq: replace(fact, code_version="") for fact in step.facts}
    told = {fact.seq: replace(fact, code_version="") for fact in step.recorded}
    texts = [f"recorded otherwise: seq {seq} is {told[seq].status}" for seq in told if made.get(seq) != told[seq]]
    return texts + [f"not recorded: seq {seq}" for seq in made if seq not in told]


def _told(message: Inbox | None) -> str:
    """Return what a message says, in a line."""
    if message is None:
        return "a record that is no message"
    body = message.body
    match body:
        case Submitted():
            dedup = "" if body.dedup else ", without dedup"
            text = f"{body.submission_id}: {', '.join(f'{one.job_id} on {one.queue}' for one in body.jobs)}{dedup}"
        case Rejected():
            text = f"{body.submission_id}: {body.error}"
        case Claim():
            text = f"attempt {body.attempt} for {body.holder}"
        case Report():
            text = f"{body.kind} of attempt {body.attempt} by {body.holder}{_result(body.result)}"
        case Control():
            text = f"{body.action} by {body.by or 'nobody'}{f': {body.reason}' if body.reason else ''} {body.arguments}"
        case Due():
            text = f"{body.kind} of attempt {body.attempt}, by the tick at {body.tick}"
        case OutputRefused():
            text = f"{body.topic}: {body.error}"
        case Heartbeat():
            text = f"of {body.holder}, {len(body.attempts)} attempts"
        case _:
            text = ""
    name = type(body).__name__.lower()
    return _cut(f"{name:<10} {text}".rstrip())


def _result(text: str) -> str:
    """Return what of a report's result tells how it went."""
    try:
        result = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    error = result.get("short_error") or result.get("reason") if isinstance(result, dict) else None
    return f": {error}" if error else ""


def _changes(changes: list[Change]) -> list[str]:
    width = max((len(one.path) for one in changes), default=0)
    return [f"  {one.path:<{width}}  {_side(one, one.before)} → {_side(one, one.after)}" for one in changes]


def _side(change: Change, value: Any) -> str:
    if change.path in _TIMES and isinstance(value, int):
        return moment(value) if value else "–"
    return _value(value)


def _value(value: Any) -> str:
    if value is ABSENT or value in ("", None):
        return "–"
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= 60 else f"{text[:59]}…"


def _fact(fact: Fact) -> str:
    detail = fact.short_error or fact.reason
    return _cut(f"→ fact {fact.seq}: {fact.status}, attempt {fact.attempt}{f': {detail}' if detail else ''}")


def _dispatch(dispatch: Dispatch) -> str:
    if dispatch.run is not None:
        return f"→ waits in {dispatch.queue} as {dispatch.key}, priority {dispatch.run.priority}"
    headers = dict(dispatch.headers)
    holder = f" to {headers['holder']}" if headers.get("holder") else ""
    return f"→ {dispatch.key} waits no longer: {headers.get('result')}{holder}"


def _command(command: Command) -> str:
    reason = f": {command.reason}" if command.reason else ""
    return f"→ {command.kind} to {command.holder}, attempt {command.attempt}{reason}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
