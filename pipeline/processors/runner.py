"""The other side of `program`: `python -m pipeline.processors.runner` calls one function.

Standard input is `{"name", "directory", "job", "context"}`; standard output is `{"value", "context"}` or `{"error"}`.
What the function prints goes to standard error.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import orjson

ENTRY_POINTS = "jobstream.processors"


def find(name: str, group: str = ENTRY_POINTS) -> Callable[..., Any]:
    """Return the function of a group's entry point, or the one that a dotted name leads to; raises LookupError.

    The name must come from the operator's list.
    """
    found: Any = None
    for point in entry_points(group=group, name=name):
        found = point.load()
    if found is None:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise LookupError(f"there is no entry point {name} in {group}, and it is no dotted name")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            raise LookupError(f"{name}: {error}") from error
    if not callable(found):
        raise LookupError(f"{name} is not a function")
    function: Callable[..., Any] = found
    return function


def call(request: dict[str, Any]) -> dict[str, Any]:
    """Call what is asked for, in the job's directory; never raises."""
    try:
        function = find(request["name"])
        os.chdir(request["directory"])
        context = request["context"]
        value = function(request["job"], context)
        orjson.dumps(context)
    except BaseException as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return {"value": bool(value), "context": context}


def main() -> None:
    """Answer one request."""
    answer = os.dup(1)
    os.dup2(2, 1)
    said = call(orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.flush()
    with os.fdopen(answer, "wb") as file:
        file.write(orjson.dumps(said, default=str))


if __name__ == "__main__":
    main()
