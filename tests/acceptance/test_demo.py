"""The demo from end to end, as `make demo` runs it: servers, agents, jobs, report, and everything stopped after."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest

from ops.demo.submissions import GRID
from ops.demo.terrain import Model, Window
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PROJECT = Path(__file__).resolve().parent.parent.parent
#: s; most of it is for a machine that does much else
PATIENCE = 600


@pytest.fixture
def home(servers_home: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = servers_home / request.node.name
    yield folder
    subprocess.run(
        [sys.executable, "-m", "ops.cli.main", "--home", str(folder), "down", "--timeout", "5"],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        timeout=120,
    )


def start(home: Path, engine: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ops.demo", "--home", str(home)],
        cwd=PROJECT,
        env=os.environ | {"DEMO_ENGINE": engine, "PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell's background job, which a test run may be, ignores SIGINT, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def run(home: Path, engine: str) -> str:
    process = start(home, engine)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def left_running(home: Path) -> list[str]:
    """Command lines of processes that belong to the home."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(str(home) in word for word in words):
            found.append(" ".join(words)[:200])
    return found


def check_products(home: Path) -> None:
    """Every tile is published once, with its bounding box and its images."""
    model = Model.read(None)
    products = sorted(path.parent for path in (home / "products/terrain").rglob("*.dataset.json"))
    assert len(products) == GRID[0] * GRID[1]
    for product in products:
        place = re.search(r"_r(\d+)_c(\d+)$", product.name)
        assert place is not None
        window = Window.of_tile(model, GRID, (int(place[1]), int(place[2])))
        west, south, east, north = window.bounds(model)
        described = json.loads((product / f"{product.name}.dataset.json").read_text())
        (ring,) = described["location"]["coordinates"]
        assert ring == [[west, south], [east, south], [east, north], [west, north], [west, south]]
        assert (product / f"{product.name}.browse.png").read_bytes().startswith(b"\x89PNG")
        assert (product / f"{product.name}.browse_small.png").stat().st_size > 0


def check_report(output: str) -> None:
    rows = [line.split() for line in output.splitlines()]
    for status, count in (("job-completed", "12"), ("job-failed", "3"), ("job-deduped", "2")):
        assert [status, count] in rows
    assert re.search(r"^tile 0,0 again +[0-9a-f]{20}-[0-9a-f]{18} +tile 0,0$", output, re.MULTILINE)
    assert re.search(r"^tile 2,3 again +[0-9a-f]{20}-[0-9a-f]{18} +tile 2,3$", output, re.MULTILINE)
    assert re.search(r"^too slow .*time limit of 3 s exceeded", output, re.MULTILINE)
    assert re.search(r"^tile 9,9 .*exit code 2: ValueError: tile row 9 is outside the model", output, re.MULTILINE)
    assert re.search(r"^no payload +payload: Field required$", output, re.MULTILINE)
    assert "found 12 just now" in output
    assert "/grq/_search" in output
    assert "everything as expected" in output


def test_the_demo_runs_jobs_as_processes_and_stops_everything_it_started(home: Path) -> None:
    check_report(run(home, "process"))
    check_products(home)
    assert left_running(home) == []


def test_an_interrupted_demo_stops_everything_and_says_so(home: Path) -> None:
    process = start(home, "process")
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "job-started" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output + rest
    assert "interrupted" in rest
    until(lambda: not left_running(home), 10, what="the demo's processes ended")


def test_the_demo_runs_jobs_in_containers(home: Path, docker_engine: docker.DockerClient) -> None:
    output = run(home, "docker")
    check_report(output)
    check_products(home)
    assert left_running(home) == []


def test_without_an_engine_the_demo_says_what_to_do_and_starts_nothing(home: Path, tmp_path: Path) -> None:
    process = start(home, "docker", DOCKER_HOST=f"unix://{tmp_path}/absent.sock")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"no Docker engine answers at unix://{tmp_path}/absent.sock" in output
    assert "DEMO_ENGINE=process" in output
    assert left_running(home) == []
