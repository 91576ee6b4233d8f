"""Jobs that fill the disk of the work root, bytes and inodes: the worker survives, cleans up, and the next job runs."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.containers.process import ProcessEngine
from pipeline.messages.report import COMPLETED, FAILED
from tests.integration.engine_support import Bench
from tests.integration.hostile_support import Arena, arena
from tests.integration.worker_support import ledger

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system"),
]


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)], ids=["process", "docker"]
)
def hostile(request: pytest.FixtureRequest, kafka: str, servers_home: Path) -> Iterator[Arena]:
    """A worker whose work root is a disk of 64 MiB with 3000 inodes."""
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    folder = servers_home / f"full-{request.param}"
    root = folder / "disk"
    root.mkdir(parents=True)
    small = "size=64m,nr_inodes=3000,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", small, "jobstream-test", root], check=True, timeout=30)
    try:
        with (
            ledger(kafka, folder, f"t{uuid.uuid4().hex[:8]}.") as playing,
            arena(playing, request.param, folder, root) as made,
        ):
            yield made
    finally:
        subprocess.run(["umount", "-l", root], check=True, timeout=30)


FILL = """
import sys
with open("filler", "wb", buffering=0) as file:
    while True:
        file.write(bytes(1 << 20))
"""
FILL_INODES = """
import os, sys
number = 0
if "{keep}" != "running":
    os.remove(".running")
while True:
    os.close(os.open(str(number), os.O_CREAT))
    number += 1
"""


def test_a_job_that_fills_the_disk_fails_and_makes_way_for_the_next(hostile: Arena) -> None:
    said = hostile.run(FILL)
    assert (said["kind"], said["category"]) == (FAILED, "command-failed")
    # its last words had no room in a file either
    assert any("output was cut: No space left on device" in note for note in said["notes"])
    directory = hostile.directory(said)
    assert (directory / ".done").exists()
    hostile.assert_unharmed()
    assert not directory.exists()


def test_what_a_job_prints_on_a_full_disk_is_cut_and_said_to_be(hostile: Arena) -> None:
    said = hostile.run("import sys\nfor _ in range(80):\n    sys.stdout.write('x' * (1 << 20))")
    assert said["kind"] == COMPLETED
    assert any("output was cut: No space left on device" in note for note in said["notes"])
    hostile.assert_unharmed()


@pytest.mark.parametrize("keep", ["running", "nothing"])
def test_a_job_that_takes_all_inodes_fails_and_makes_way_for_the_next(hostile: Arena, keep: str) -> None:
    said = hostile.run(FILL_INODES.replace("{keep}", keep))
    assert said["kind"] == FAILED
    directory = hostile.directory(said)
    assert (directory / ".done").exists()
    hostile.assert_unharmed()
    assert not directory.exists()


def test_a_job_beside_one_that_fills_the_disk_has_a_result_too(hostile: Arena) -> None:
    filling = hostile.start(FILL + "\n")
    beside = hostile.run("open('x', 'wb').write(bytes(1 << 20))")
    assert beside["kind"] in (COMPLETED, FAILED)
    assert hostile.end(filling)["kind"] == FAILED
    hostile.assert_unharmed()


async def test_a_run_that_can_not_be_recorded_is_not_its_commands_fault(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    bench = Bench(ProcessEngine(tmp_path / "state"), tmp_path, "")
    outcome = await bench.engine.run(bench.sh("true"))
    assert (outcome.ran, outcome.engine_failed) == (False, True)
    assert "can't be recorded" in str(outcome.error)


@pytest.mark.parametrize("hostile", [pytest.param("docker", marks=pytest.mark.docker)], ids=["docker"], indirect=True)
def test_the_temporary_folder_of_a_container_is_bounded(hostile: Arena) -> None:
    script = "file = open('/tmp/filler', 'wb', buffering=0)\nwhile True:\n    file.write(bytes(1 << 20))"
    said = hostile.run(script)
    assert said["kind"] == FAILED
    assert "No space left on device" in said["traceback"] or said["category"] == "out-of-memory"
    hostile.assert_unharmed()
