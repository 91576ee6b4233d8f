"""Places between two side effects at which a process is made to end or stand still: for tests, off unless asked for.

`JOBSTREAM_CRASH_POINT=NAME[:PASS[:ACTION]]` in the environment of one agent: at the PASS-th time (by default the first)
that this process comes by NAME it sends itself the signal of ACTION: `kill` is SIGKILL (the default), `term` SIGTERM,
upon which it goes on and is to stop in order, `stop` SIGSTOP, upon which it stands still until somebody sends SIGCONT.
A count decides and nothing else, no time and no chance. It happens once.
"""

import itertools
import os
import signal
from collections.abc import Mapping

VARIABLE = "JOBSTREAM_CRASH_POINT"
#: How a process can be made to end.
ACTIONS = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
_SIGNALS = {**ACTIONS, "stop": signal.SIGSTOP}

#: Every point: what is done when a process comes by it, and what is not. The first part of a name is the agent.
POINTS: dict[str, str] = {
    "gate.reports.taken": "reports or control are read, nothing is decided",
    "gate.reports.decided": "what becomes of them is decided, nothing is sent",
    "gate.reports.sent": "they are sent to the inbox, no delivery is known",
    "gate.reports.delivered": "the inbox has them, none counts as read",
    "gate.reports.stored": "they count as read, which is not committed",
    "gate.submit.taken": "submissions are read, nothing is decided",
    "gate.submit.decided": "their jobs are made and their queues declared, nothing is sent",
    "gate.submit.sent": "they are sent to the inbox, no delivery is known",
    "gate.submit.delivered": "the inbox has them, none counts as read",
    "gate.submit.stored": "they count as read, which is not committed",
    "gate.principal.taken": "submissions of a known sender are read, nothing is decided",
    "gate.principal.decided": "their jobs are made and their queues declared, nothing is sent",
    "gate.principal.sent": "they are sent to the inbox, no delivery is known",
    "gate.principal.delivered": "the inbox has them, none counts as read",
    "gate.principal.stored": "they count as read, which is not committed",
    "gate.dead-letter": "a dead letter is made, and not sent",
    "gate.queue-missing": "a submission names a queue that nobody declared, and it has no topic",
    "gate.queue-made": "a new queue has its topic, and is not declared",
    "gate.queue-declared": "a new queue is declared, which this process does not know",
    "ledger.recovering": "partitions are assigned and their tables recovered, the clock is not",
    "ledger.recovered": "a partition's clock is rebuilt, its policy not announced",
    "ledger.owning": "a partition's policy is announced, and nothing of it applied",
    "ledger.taken": "a batch is read, nothing is decided",
    "ledger.decided": "a batch is decided, nothing is written",
    "ledger.documents-stored": "documents and index are in the local tables, not in the changelog, nothing is sent",
    "ledger.one-sent": "one record of a batch is handed to the producer, others are not",
    "ledger.sent": "all records of a step are handed to the producer, no delivery is known",
    "ledger.one-delivered": "one record of a step is delivered, others are not",
    "ledger.outputs-delivered": "facts, run records, commands and documents are out, no family is written",
    "ledger.families-stored": "families are in the local tables, not in the changelog",
    "ledger.families-delivered": "families are in the changelog, what is deleted with them is not",
    "ledger.applied": "all of a batch is out, nothing is acknowledged",
    "ledger.one-acknowledged": "one message of a batch is acknowledged",
    "ledger.acknowledged": "a batch is acknowledged, which is not committed",
    "ledger.tick-due": "a tick is due, and not sent",
    "ledger.tick-sent": "a tick is delivered, and not counted",
    "ledger.swept": "a tick found what can be forgotten, which is said to nobody",
    "scheduler.elected": "it is elected, and has not begun to lead",
    "scheduler.read": "records are read, nothing is matched",
    "scheduler.matched": "claims are decided, none is sent",
    "scheduler.claim-sent": "a claim is handed to the producer, its delivery is not known",
    "scheduler.claim-delivered": "a claim is in the inbox",
    "scheduler.view-sent": "a view is handed to the producer",
    "worker.reaped": "what an earlier process ran is ended, its directories are open, nobody was told",
    "worker.listening": "commands are read from here on, no status was sent",
    "worker.introduced": "the schedulers know it, the ledger does not",
    "worker.commanded": "a command is read, nothing is done about it",
    "worker.granted": "a grant is noted, no slot has it",
    "worker.taken": "a slot has an attempt, whose document is not read",
    "worker.begun": "an attempt is begun, nothing of it exists",
    "worker.directory-listed": "the work directory is listed as open, and not made",
    "worker.directory-made": "the work directory is made, its files are not",
    "worker.files-written": "all files of the directory are written, nobody was told",
    "worker.started-said": "`started` is on its way, the command does not run",
    "worker.run-recorded": "the engine has noted a run whose process is not started",
    "worker.process-started": "the process runs, its pid is not noted",
    "worker.command-ended": "the command ended, nothing is made of that",
    "worker.publish.begun": "staging is begun, earlier attempts of the job are fenced",
    "worker.publish.staged": "a product is staged, not all is asked for",
    "worker.permission-due": "the ledger is to be asked whether it may publish, nothing is sent",
    "worker.permission-asked": "the ledger was asked whether it may publish",
    "worker.permitted": "it may publish, nothing is visible",
    "worker.publish.journal": "what will be visible is written down, nothing is",
    "worker.publish.shown": "a product is visible, the commit has not ended",
    "worker.publish.all-shown": "all products are visible, the commit has not ended",
    "worker.publish.committed": "the commit has ended, the staging is there",
    "worker.directory-closed": "the directory is closed, nobody was told how the attempt ended",
    "worker.announced": "the datasets are announced, the attempt is not reported",
    "worker.report-due": "the last report is made, and not sent",
    "worker.record-sent": "a report, status or event is handed to the producer, its delivery is not known",
    "worker.report-delivered": "a report is delivered, which the worker has not noted",
    "worker.let-go": "an attempt is let go of, no status says so",
    "worker.handing-back": "an attempt is to be handed back, which is not sent",
    "sink.installed": "Elasticsearch has the templates, nothing is read",
    "sink.taken": "a batch of facts is read, nothing is made of it",
    "sink.planned": "what is to be written is decided, nothing is",
    "sink.written": "a bulk is written, aliases are not given and nothing is acknowledged",
    "sink.letter-sent": "a dead letter is handed to the producer, its delivery is not known",
    "sink.buried": "all of a batch is written or dead, nothing is acknowledged",
    "sink.one-acknowledged": "one fact of a batch is acknowledged",
    "sink.acknowledged": "a batch is acknowledged, which is not committed",
}


class UnknownPointError(ValueError):
    """What the environment asks for is no crash point; the text lists all."""


class _Armed:
    def __init__(self, name: str, wanted: int, action: str) -> None:
        self.name = name
        self._wanted = wanted
        self._action = action
        # one step of the interpreter: a point may be passed by several threads
        self._passes = itertools.count(1)

    def passed(self) -> None:
        if next(self._passes) == self._wanted:
            os.write(2, f"crash point {self.name}, pass {self._wanted}: {self._action}\n".encode())
            os.kill(os.getpid(), _SIGNALS[self._action])


_armed: _Armed | None = None


def here(name: str) -> None:
    """Say that the process comes by the point `name`, one of POINTS; where it isn't armed nothing happens."""
    if _armed is not None and _armed.name == name:
        _armed.passed()


def arm(environment: Mapping[str, str]) -> str:
    """Arm the point that the environment names and return what it says, empty where it names none.

    Raises UnknownPointError.
    """
    global _armed  # noqa: PLW0603  a process ends as a whole
    wanted = environment.get(VARIABLE, "")
    _armed = _parsed(wanted) if wanted else None
    return wanted


def _parsed(wanted: str) -> _Armed:
    name, _, rest = wanted.partition(":")
    count, _, action = rest.partition(":")
    action = action or "kill"
    if name not in POINTS:
        known = "\n  ".join(f"{one}: {told}" for one, told in POINTS.items())
        raise UnknownPointError(f"{VARIABLE}={wanted}: no such point; there are\n  {known}")
    if action not in _SIGNALS or not (count or "1").isdecimal() or int(count or "1") < 1:
        raise UnknownPointError(f"{VARIABLE}={wanted}: NAME[:PASS[:{'|'.join(_SIGNALS)}]], a pass is 1 or more")
    return _Armed(name, int(count or "1"), action)
