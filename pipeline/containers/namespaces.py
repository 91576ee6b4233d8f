"""Processes in a PID namespace of their own, seen from outside of it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: How deep below the process that made it a namespace's first process is looked for.
_DEPTH = 3


def first_of(maker: int) -> int:
    """Return the first process of a PID namespace below this process, or 0 where there is none (yet)."""
    return next((pid for pid in _below(maker, _DEPTH) if _inner(pid) == 1), 0)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children; none if it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            # A child is listed at the thread that made it.
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _inner(pid: int) -> int:
    """Return the pid that a process has in a namespace within this one; 0 where it is in this very one, or gone."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                _, *inner = map(int, line.split()[1:])
                return inner[-1] if inner else 0
    return 0


def _below(pid: int, depth: int) -> Iterator[int]:
    if depth == 0:
        return
    for child in children(pid):
        yield child
        yield from _below(child, depth - 1)
