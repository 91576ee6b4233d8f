"""Crash points: off by default, by count alone, and refused by a list where the name is unknown."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import crash_points
from pipeline.crash_points import ACTIONS, POINTS, VARIABLE, UnknownPointError

PROJECT = Path(__file__).resolve().parents[2]
PASSES = """
import sys, os, signal
from pipeline import crash_points
signal.signal(signal.SIGTERM, lambda *_: print("told to stop"))
crash_points.arm(os.environ)
for number in range(1, 6):
    crash_points.here("ledger.taken")
    crash_points.here("ledger.decided")
    print(number, flush=True)
"""


def run(armed: str | None) -> "subprocess.CompletedProcess[str]":
    environment = {} if armed is None else {VARIABLE: armed}
    return subprocess.run(
        [sys.executable, "-c", PASSES], env=environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_without_a_word_in_the_environment_nothing_happens() -> None:
    done = run(None)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, list("12345"), "")


def test_a_process_ends_at_the_pass_that_was_asked_for() -> None:
    done = run("ledger.taken:3")
    assert (done.returncode, done.stdout.split()) == (-9, ["1", "2"])
    assert done.stderr == "crash point ledger.taken, pass 3: kill\n"
    assert run("ledger.taken").returncode == -9


def test_one_that_is_told_to_stop_goes_on() -> None:
    done = run("ledger.decided:2:term")
    assert (done.returncode, done.stdout.split()) == (0, ["1", "told", "to", "stop", "2", "3", "4", "5"])


def test_one_that_is_to_stand_still_goes_on_when_somebody_says_so() -> None:
    environment = {VARIABLE: "ledger.decided:2:stop"}
    with subprocess.Popen([sys.executable, "-c", PASSES], env=environment, cwd=PROJECT, stdout=subprocess.PIPE) as one:
        _, status = os.waitpid(one.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        one.send_signal(signal.SIGCONT)
        said, _ = one.communicate(timeout=30)
    assert (one.returncode, said.split()) == (0, [b"1", b"2", b"3", b"4", b"5"])


@pytest.mark.parametrize(
    "wanted", ["ledger", "ledger.takes:1", "ledger.taken:0", "ledger.taken:x", "ledger.taken:1:int"]
)
def test_what_is_no_point_is_refused(wanted: str) -> None:
    with pytest.raises(UnknownPointError, match=re.escape(wanted)):
        crash_points.arm({VARIABLE: wanted})


def test_an_unknown_name_is_answered_with_all_that_there_are() -> None:
    with pytest.raises(UnknownPointError) as refused:
        crash_points.arm({VARIABLE: "ledger.nowhere"})
    assert all(name in str(refused.value) for name in POINTS)


def test_an_agent_refuses_to_start_at_an_unknown_point() -> None:
    command = [sys.executable, "-m", "ops.cli.main", "gate"]
    done = subprocess.run(
        command, env={VARIABLE: "gate.nowhere"}, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "gate.submit.taken" in done.stderr


def test_every_point_is_somewhere_in_the_code_and_the_code_has_no_other() -> None:
    code = "".join(path.read_text() for folder in ("agents", "pipeline") for path in (PROJECT / folder).rglob("*.py"))
    written = set(re.findall(r'\bhere\("([^"]+)"\)', code))
    composed = {
        f"gate.{loop}.{step}"
        for loop in ("reports", "submit", "principal")
        for step in re.findall(r'here\(f"\{self\._points\}\.(\w+)"\)', code)
    }
    steps = {name.replace(" ", "-") for name in re.findall(r'on_step\("([^"]+)"\)', code)}
    published = {name for name in POINTS if name.startswith("worker.publish.")}
    assert {name.removeprefix("worker.publish.") for name in published} <= steps
    assert written | composed | published == set(POINTS)
    assert set(ACTIONS) == {"kill", "term"}
