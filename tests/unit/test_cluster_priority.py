"""What gives way to whom."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.cluster.priority import yield_to_others


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as started:
        yield started


def test_a_process_that_yields_has_a_lower_priority_in_its_session_and_as_a_session(
    process: subprocess.Popen[bytes],
) -> None:
    yield_to_others(process.pid)
    assert psutil.Process(process.pid).nice() == 10
    autogroup = Path(f"/proc/{process.pid}/autogroup")
    if autogroup.exists():
        assert autogroup.read_text().split()[-1] == "10"


def test_the_caller_keeps_its_own_priority() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    autogroup = Path("/proc/self/autogroup")
    session = autogroup.read_text() if autogroup.exists() else ""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        yield_to_others(child.pid)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert (autogroup.read_text() if autogroup.exists() else "") == session


def test_a_process_that_has_ended_is_left_alone(process: subprocess.Popen[bytes]) -> None:
    process.communicate()
    yield_to_others(process.pid)
