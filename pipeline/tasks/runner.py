"""The other side of `child`: `python -m pipeline.tasks.runner` calls one function.

Standard input is `{"function", "args", "kwargs", "task", "limit"}`; standard output is `{"result", "size"}` or
`{"error", "traceback"}`. What the function prints goes to standard error. A function with a parameter `task` is given
`task`: its id, attempt, queue, directory, time limit, the host's facts and the trace headers.
"""

import ctypes
import inspect
import os
import signal
import sys
import traceback
from typing import Any

import orjson

from pipeline.processors.runner import find

ENTRY_POINTS = "jobstream.tasks"
_PR_SET_PDEATHSIG = 1


def call(request: dict[str, Any]) -> dict[str, Any]:
    """Call what is asked for; never raises."""
    try:
        function = find(request["function"], ENTRY_POINTS)
        kwargs = request["kwargs"]
        if _wants_task(function):
            kwargs = {**kwargs, "task": request["task"]}
        return _answer(function(*request["args"], **kwargs), request["limit"])
    except BaseException as error:
        text = traceback.format_exc()
        sys.stderr.write(text)
        return {"error": f"{type(error).__name__}: {error}", "traceback": text}


def _wants_task(function: Any) -> bool:
    try:
        parameter = inspect.signature(function).parameters.get("task")
    except (ValueError, TypeError):
        return False
    return parameter is not None and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY


def _answer(value: Any, limit: int) -> dict[str, Any]:
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError, RecursionError):
        # what a function returns is no reason to call it again
        text = orjson.dumps(repr(value)[:limit]).decode()
    size = len(text.encode())
    return {"result": text if size <= limit else None, "size": size}


def _die_with_parent(parent: int) -> None:
    """Have the kernel end this process with the worker: a redelivered task must not run beside what is left of it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Answer one request; the argument is the worker's pid."""
    _die_with_parent(int(sys.argv[1]))
    answer = os.dup(1)
    os.dup2(2, 1)
    said = call(orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.flush()
    with os.fdopen(answer, "wb") as file:
        file.write(orjson.dumps(said, default=str))
    sys.stderr.flush()
    # what threads the function left running must not keep the answer
    os._exit(0)


if __name__ == "__main__":
    main()
