"""Leaves operations out of a plan for as long as it still fails in the same way."""

import time
from collections.abc import Callable, Sequence

from tests.simulation.plan import Operation
from tests.simulation.world import run

#: Characters of a failure by which two are the same.
_SAME = 24


def failure(seed: int, plan: Sequence[Operation], avro: bool = False) -> str | None:
    """Run a world; return what was wrong with it, None where nothing was."""
    try:
        run(seed, plan, avro)
    except Exception as error:  # whatever the code raises is what was looked for
        return f"{type(error).__name__}: {error}"
    return None


def shrunk(
    plan: Sequence[Operation], fails: Callable[[list[Operation]], str | None], seconds: float = 60
) -> tuple[list[int], str]:
    """Return the indices of the operations that are needed, and how the world fails with them alone."""
    found = fails(list(plan)) or ""
    kept = list(range(len(plan)))
    deadline = time.monotonic() + seconds
    size = max(1, len(kept) // 2)
    while time.monotonic() < deadline:
        for start in range(0, len(kept), size):
            tried = kept[:start] + kept[start + size :]
            said = fails([plan[index] for index in tried])
            if said is not None and said[:_SAME] == found[:_SAME]:
                kept, found = tried, said
                break
            if time.monotonic() > deadline:
                break
        else:
            if size == 1:
                break
            size //= 2
    return kept, found
