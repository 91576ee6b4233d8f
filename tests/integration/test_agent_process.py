"""Agents as detached processes: a worker that does nothing stands for all, since it starts without a broker."""

import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.cluster import AgentProcess
from pipeline.settings import KafkaSettings, Settings, WorkerSettings
from tests.waiting import until


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    settings = Settings(
        home=tmp_path,
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        worker=WorkerSettings(id="worker-1", engine="noop", slots=1, grace=0),
    )
    return settings.environment()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path, "worker-1", ["worker", "--id", "worker-1"])
    yield process
    process.stop(0.1)


def same(home: Path) -> AgentProcess:
    """Return what another process would make of the home."""
    return AgentProcess(home, "worker-1", ["worker", "--id", "worker-1"])


def test_an_agent_is_started_once_found_by_anybody_and_stopped(
    agent: AgentProcess, environment: dict[str, str], tmp_path: Path
) -> None:
    pid = agent.start(environment)
    assert agent.start(environment) == pid
    # what has just begun shows no arguments to anybody else
    found = until(same(tmp_path).find)
    assert found.pid == pid
    assert psutil.Process(pid).terminal() is None
    assert same(tmp_path).status("worker").running
    assert agent.stop(30.0)
    assert agent.find() is None and not psutil.pid_exists(pid)
    assert not agent.stop(1.0)


def test_an_agent_whose_pid_file_was_lost_is_found_by_its_home_and_command(
    agent: AgentProcess, environment: dict[str, str], tmp_path: Path
) -> None:
    pid = agent.start(environment)
    (tmp_path / "run" / "worker-1.pid").unlink()
    found = same(tmp_path).find()
    assert found is not None and found.pid == pid
    assert (tmp_path / "run" / "worker-1.pid").read_text() == str(pid)
    other = AgentProcess(tmp_path, "worker-2", ["worker", "--id", "worker-2"])
    assert other.find() is None
    assert AgentProcess(tmp_path / "other", "worker-1", ["worker", "--id", "worker-1"]).find() is None


def test_somebody_elses_process_under_a_recycled_pid_is_neither_found_nor_ended(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "worker-1.pid").write_text(str(other.pid))
        assert same(tmp_path).find() is None
        assert not same(tmp_path).stop(0.1)
        assert other.poll() is None
    finally:
        other.communicate(b"")


def test_an_agent_that_does_not_heed_sigterm_is_killed(
    agent: AgentProcess, environment: dict[str, str], tmp_path: Path
) -> None:
    pid = agent.start(environment)
    psutil.Process(pid).send_signal(signal.SIGSTOP)
    assert same(tmp_path).stop(0.2)
    until(lambda: agent.find() is None, what="the killed process to be gone")


def test_an_agent_that_shows_no_arguments_while_it_ends_has_not_ended_yet(
    agent: AgentProcess, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.start(environment)
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: [])
    assert not agent.wait(0.1)


#: the system call that ends one thread
_EXIT = {"x86_64": 60, "aarch64": 93}[platform.machine()]
#: ends its main thread, which the kernel then calls a zombie, and the other one once there is a file
_HALF_ENDED = """#!{python}
import ctypes, os, pathlib, threading, time

def rest():
    while not pathlib.Path("{file}").exists():
        time.sleep(0.01)
    os._exit(0)

threading.Thread(target=rest).start()
ctypes.CDLL(None).syscall({exit}, 0)
"""


def test_an_agent_of_which_one_thread_still_ends_has_not_ended_yet_and_is_started_again_after_it(
    agent: AgentProcess, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, file = tmp_path / "half-ended", tmp_path / "end"
    script.write_text(_HALF_ENDED.format(python=sys.executable, file=file, exit=_EXIT))
    script.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(script))
        first = agent.start(environment)
    until(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE, what="its main thread has ended")
    assert not agent.wait(0.1)
    file.touch()
    assert agent.wait(30.0)
    assert agent.start(environment) != first


def test_the_end_of_the_log_is_that_of_this_start(agent: AgentProcess, tmp_path: Path) -> None:
    agent.log.parent.mkdir(parents=True)
    agent.log.write_text("of an earlier start\n")
    broken = Settings(home=tmp_path).environment() | {"JOBSTREAM_WORKER": "{}", "JOBSTREAM_LOG_LEVEL": "NONSENSE"}
    agent.start(broken)
    until(lambda: agent.find() is None, what="a worker with wrong settings to end")
    tail = "\n".join(agent.tail())
    assert "log_level" in tail and "earlier" not in tail
