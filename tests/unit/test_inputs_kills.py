"""A process is killed at each line that brings a new version of what is cached: what it leaves is good for the next."""

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pipeline.inputs
from pipeline.inputs.cache import Cache
from pipeline.inputs.entry import Entry, key_of
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.limits import Limits
from pipeline.inputs.patience import Patience
from pipeline.inputs.spool import Spool
from tests.unit.test_inputs_cache import Given

LIMITS = Limits(backoff=0.001, backoff_max=0.002)
CODE = Path(pipeline.inputs.__file__).parent
TRACED = {str(CODE / name) for name in ("cache.py", "entry.py", "room.py", "spool.py")}
OLD, NEW = b"old" * 100, b"newer" * 70
#: Bytes of the cache: with room for both versions at once, and without.
ROOMS = (10_000, 400)


def bring(root: Path, target: Path, source: Given, room: int) -> Cache:
    cache = Cache(root, room, LIMITS)
    cache.bring("a", source, target, Patience(30), Gauge(1 << 40))
    return cache


def killed_at(line: int, root: Path, target: Path, room: int) -> bool:
    """Bring the new version in a process that dies before the so manieth line new to it; say whether it came so far."""
    child = os.fork()
    if child == 0:
        seen = set()

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code.co_filename not in TRACED:
                return None
            if event == "line":
                seen.add((frame.f_code.co_filename, frame.f_lineno))
                if len(seen) == line:
                    os._exit(9)
            return trace

        code = 1
        try:
            sys.settrace(trace)
            bring(root, target, Given(NEW, '"2"'), room)
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def check(root: Path) -> None:
    entry = Entry(root, key_of("a"))
    meta = entry.meta()
    if meta is not None:
        assert entry.data.read_bytes() == {'"1"': OLD, '"2"': NEW}[meta.version.etag or ""]
    part = Spool(entry.part, entry.part_note).part()
    if part is not None:
        assert part.version.etag == '"2"'
        assert entry.part.read_bytes() == NEW[: part.size]
    # root could write to it whatever its mode; a worker that isn't root could not
    assert not entry.part.exists() or entry.part.stat().st_mode & 0o200
    assert int((root / "count").read_bytes()) >= entry.size + entry.part_size


@pytest.mark.parametrize("room", ROOMS)
def test_a_kill_at_any_line_leaves_what_the_next_one_can_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    line, came_so_far = 0, True
    while came_so_far:
        line += 1
        root = tmp_path / str(line)
        bring(root, root / "first", Given(OLD, '"1"'), room)
        came_so_far = killed_at(line, root, root / "killed", room)
        check(root)
        cache = bring(root, root / "next", Given(NEW, '"2"'), room)
        assert (root / "next").read_bytes() == NEW
        assert cache.sweep() == len(NEW)
        assert {path.name for path in Entry(root, key_of("a")).folder.iterdir()} == {"lock", "data", "meta.json"}
    assert line > 100
