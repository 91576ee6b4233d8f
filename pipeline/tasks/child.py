"""A function in a process of its own, which can be ended with all that it started."""

import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import orjson

from pipeline.containers.processes import TOKEN_VARIABLE, ProcessRecord, born, kill_all
from pipeline.tasks.check import Call
from pipeline.tasks.outcome import End, Outcome

#: Variables of the worker that functions get: what Python and programs need to run at all. The others may hold secrets.
PASSED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
#: bytes of the end of what it printed that are kept
OUTPUT = 16 << 10
#: bytes of an answer beside its result: an error and its traceback
_ANSWER = 1 << 20
#: reads of what a process left in its pipes, which hold less; somebody else may go on writing
_LAST_READS = 8
#: s between two looks at the clock and at `watch`
_LOOK = 0.1

Watch = Callable[[], End | None]


class Child:
    """Calls functions. `records` is where running processes are written down, `grace` s between SIGTERM and SIGKILL."""

    def __init__(
        self, worker: str, records: Path, *, grace: float, result_limit: int, environment: Mapping[str, str]
    ) -> None:
        self._worker = worker
        self._records = records
        self._grace = grace
        self._limit = result_limit
        self._environment = dict(environment)

    def run(self, call: Call, about: Mapping[str, Any], folder: Path, watch: Watch) -> Outcome:
        """Call the function in `folder`, and return how that ended once nothing is left of its processes.

        `about` is what a parameter `task` gets. `watch` is asked often: an End that it returns ends the call so. Raises
        OSError where no process can be started.
        """
        record = ProcessRecord(
            token=secrets.token_hex(16),
            job=call.task.task_id,
            attempt=call.task.attempt,
            holder=self._worker,
            worker=self._worker,
            working_dir=str(folder),
        )
        record.write(self._records)
        try:
            process = self._start(call, about, folder, record.token)
            record = replace(record, pid=process.pid, born=born(process.pid))
            record.write(self._records)
            return _Running(process, call.time_limit, self._grace, self._limit).to_end(watch)
        finally:
            # those too that left its group, and those that outlived it
            kill_all(record)
            record.remove(self._records)

    def _start(self, call: Call, about: Mapping[str, Any], folder: Path, token: str) -> "subprocess.Popen[bytes]":
        request = {
            "function": call.task.function,
            "args": call.args,
            "kwargs": call.kwargs,
            "task": about,
            "limit": self._limit,
        }
        own = {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PYTHONUNBUFFERED": "1",
            "JOBSTREAM_TASK_ID": call.task.task_id,
            "JOBSTREAM_TASK_ATTEMPT": str(call.task.attempt),
            TOKEN_VARIABLE: token,
        }
        with tempfile.TemporaryFile() as file:
            file.write(orjson.dumps(request, default=str))
            file.seek(0)
            return subprocess.Popen(
                # -P: a module in the task's directory must not be taken for ours
                [sys.executable, "-P", "-m", "pipeline.tasks.runner", str(os.getpid())],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=self._environment | own,
                start_new_session=True,
            )


def environment(names: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables of this process that functions get: PASSED, and those that the operator names."""
    return {name: os.environ[name] for name in (*PASSED, *names) if name in os.environ}


class _Running:
    """One process, from its start to its end."""

    def __init__(self, process: "subprocess.Popen[bytes]", limit: float, grace: float, result_limit: int) -> None:
        self._process = process
        self._limit = limit
        self._grace = grace
        self._most = result_limit * 2 + _ANSWER
        self._answer, self._output = bytearray(), bytearray()
        self._why: tuple[End, str] | None = None
        self._kill_at = 0.0

    def to_end(self, watch: Watch) -> Outcome:
        """Wait for it, within its time."""
        over = time.monotonic() + self._limit
        try:
            with selectors.DefaultSelector() as selector:
                for pipe in (self._process.stdout, self._process.stderr):
                    assert pipe is not None
                    selector.register(pipe, selectors.EVENT_READ)
                while not self._has_ended():
                    self._take(selector, _LOOK)
                    self._look(watch, over)
                self._end()
                for _ in range(_LAST_READS):
                    self._take(selector, 0.0)
        finally:
            self._end()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
            self._process.wait()
        return self._outcome()

    def _look(self, watch: Watch, over: float) -> None:
        now = time.monotonic()
        if self._why is None:
            if (end := watch()) is not None:
                self._ask(end, "")
            elif now > over:
                self._ask(End.FAILED, f"time limit of {self._limit:g} s exceeded")
            elif len(self._answer) > self._most:
                self._ask(End.FAILED, f"its answer is longer than {self._most} bytes")
        elif now > self._kill_at:
            self._signal(signal.SIGKILL)

    def _ask(self, end: End, error: str) -> None:
        self._why = (end, error)
        self._kill_at = time.monotonic() + (self._grace if end is not End.LOST else 0)
        self._signal(signal.SIGTERM)

    def _take(self, selector: selectors.BaseSelector, wait: float) -> None:
        """Read what the pipes have, once; what nobody writes to any more is let go."""
        if not selector.get_map():
            time.sleep(wait / 10)
            return
        for key, _ in selector.select(wait):
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
            data = os.read(pipe.fileno(), 1 << 16)
            if not data:
                selector.unregister(pipe)
            elif pipe is self._process.stderr:
                self._output = (self._output + data)[-OUTPUT:]
            elif len(self._answer) <= self._most:
                self._answer += data

    def _outcome(self) -> Outcome:
        output = self._output.decode(errors="replace")
        if self._why is not None:
            return Outcome(end=self._why[0], error=self._why[1], output=output)
        try:
            said = orjson.loads(self._answer)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            how = _how(self._process.returncode)
            return Outcome(end=End.FAILED, error=f"its process ended {how} without an answer", output=output)
        if "error" in said:
            return Outcome(
                end=End.FAILED, error=str(said["error"]), traceback=str(said.get("traceback", "")), output=output
            )
        return Outcome(end=End.RETURNED, result=said["result"], result_size=int(said["size"]), output=output)

    def _has_ended(self) -> bool:
        """Say whether it has ended; it isn't reaped, so that its group's number stays its own."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _end(self) -> None:
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _how(code: int) -> str:
    return f"with exit code {code}" if code >= 0 else f"by signal {-code}"
