"""What is Apptainer's alone: images that are files, and a process outside of the container."""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import psutil
import pytest

from pipeline.containers import cgroups
from pipeline.containers.apptainer import ApptainerEngine
from pipeline.containers.contained import ContainedProcess
from pipeline.containers.errors import EngineError
from pipeline.containers.spec import Mount
from tests.conftest import BUSYBOX, PYTHON, Apptainer
from tests.integration.engine_support import (
    LATER,
    STUBBORN,
    WORKER,
    Bench,
    apptainer_engine_of,
    descendants_in,
    left_of,
    read,
    shown,
)

pytestmark = pytest.mark.docker


@pytest.fixture
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """With the images that all tests share."""
    engine, python = apptainer_engine_of(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


@pytest.fixture
async def own(apptainer_engine: Apptainer, tmp_path: Path) -> AsyncIterator[ApptainerEngine]:
    """An engine with a folder of its own, without images."""
    engine = ApptainerEngine(tmp_path / "state", tmp_path / "images", program=apptainer_engine.program)
    yield engine
    await engine.close()


async def test_of_an_archive_of_several_images_the_named_one_is_loaded_by_the_id_that_docker_has(
    own: ApptainerEngine, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    api = docker_engine.api
    with api.get(f"{api.base_url}/images/get", params={"names": [BUSYBOX, PYTHON]}, stream=True) as answer:
        (tmp_path / "both.tar").write_bytes(answer.content)
    await own.load(tmp_path / "both.tar", BUSYBOX)
    assert await own.image_id(BUSYBOX) == docker_engine.images.get(BUSYBOX).id
    with pytest.raises(EngineError, match="not another:1"):
        await own.load(tmp_path / "both.tar", "another:1")


async def test_a_sif_file_is_loaded_as_it_is_and_runs(
    own: ApptainerEngine, apptainer_engine: Apptainer, tmp_path: Path
) -> None:
    sif = tmp_path / "made.sif"
    line = [apptainer_engine.program, "--silent", "build", str(sif), str(apptainer_engine.images / BUSYBOX)]
    path = f"{Path(apptainer_engine.program).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "APPTAINER_TMPDIR": str(tmp_path)}
    await asyncio.to_thread(subprocess.run, line, check=True, timeout=60, env=env)
    await own.load(sif, "from/sif:1")
    outcome = await own.run(Bench(own, tmp_path, "python3").sh("echo ran", image="from/sif:1"))
    assert outcome.succeeded, outcome
    assert re.fullmatch("sha256:[0-9a-f]{64}", str(outcome.image_id))
    # The operator may as well put the file there.
    sif.rename(tmp_path / "images/by-hand.sif")
    assert await own.image_id("by-hand") == outcome.image_id


async def test_an_archive_that_can_not_be_loaded_leaves_nothing(
    own: ApptainerEngine, image_archives: dict[str, Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.tar"
    whole = image_archives[PYTHON].read_bytes()
    # Its manifest comes last: all but a layer is there.
    (tmp_path / "no.tar").write_bytes(b"no archive")
    cut.write_bytes(whole[: len(whole) // 2])
    for archive in (cut, tmp_path / "no.tar", tmp_path / "none.tar"):
        with pytest.raises(EngineError):
            await own.load(archive, "cut:1")
    assert not list((tmp_path / "images").glob("**/*cut*"))


async def test_what_a_command_says_like_apptainer_is_its_own(bench: Bench) -> None:
    script = "sleep 0.3; echo 'FATAL:   \"x\": executable file not found in $PATH' >&2; exit 255"
    outcome = await bench.engine.run(bench.sh(script))
    assert (outcome.exit_code, outcome.error) == (255, None)


async def test_a_bad_command_names_what_was_asked_for(bench: Bench) -> None:
    for name, code in (("no-such", 127), ("./no-such", 127), ("/bin", 126)):
        outcome = await bench.engine.run(bench.spec(name))
        assert (outcome.exit_code, outcome.engine_failed) == (code, False)
        assert f"the command {name}: " in str(outcome.error)


async def test_apptainers_own_failure_is_the_engines(bench: Bench) -> None:
    assert isinstance(bench.engine, ApptainerEngine)
    bench.engine._networks = frozenset({"missing-network"})
    outcome = await bench.engine.run(bench.sh("true", network="missing-network"))
    assert (outcome.exit_code, outcome.engine_failed) == (125, True)
    assert "Apptainer doesn't work: container creation failed: network" in str(outcome.error)


async def test_variables_that_no_shell_can_set_are_left_out_and_noted(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.sh("env", env={"a.b": "1", "A_B": "2", "HOME": "/elsewhere"}))
    assert outcome.notes == ("left out of the environment: a.b, HOME",)
    lines = read(bench.spec("x"))[0].splitlines()
    assert b"A_B=2" in lines
    assert b"HOME=%s" % bytes(bench.root / "work") in lines


async def test_the_end_of_the_process_outside_ends_the_container(bench: Bench) -> None:
    spec = bench.py(STUBBORN)
    running = await bench.engine._start(spec)
    assert isinstance(running, ContainedProcess)
    await shown(spec.stdout.read_bytes)
    inside = psutil.Process(running.pid)
    os.kill(running._leader, signal.SIGKILL)
    assert (await running.wait()).signal == 9
    await running.finish()
    assert not inside.is_running() or inside.status() == psutil.STATUS_ZOMBIE
    assert not list(cgroups.ROOT.glob(f"**/apptainer/{running.pid}"))


async def test_a_container_that_ended_after_its_worker_leaves_nothing_once_reaped(bench: Bench) -> None:
    spec = bench.sh("sleep 0.2")
    running = await bench.engine._start(spec)
    assert isinstance(running, ContainedProcess)
    # As if nobody were there to let the process outside go on.
    running._watch._afterwards = None  # type: ignore[union-attr]
    inside = psutil.Process(running.pid)
    await shown(lambda: inside.status() == psutil.STATUS_ZOMBIE)
    assert [orphan.job for orphan in await bench.engine.reap_orphans(WORKER, LATER)] == ["fam-1"]
    outcome = await running.wait()
    assert outcome.exit_code == 137
    assert not list(cgroups.ROOT.glob(f"**/apptainer/{running.pid}"))
    await running.finish()


async def test_a_container_that_is_lost_sight_of_at_its_start_is_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(*_: object) -> ContainedProcess:
        raise EngineError("the image is gone")

    monkeypatch.setattr(bench.engine, "_running", vanished)
    spec = bench.sh("sleep 100")
    outcome = await bench.engine.run(spec)
    assert (outcome.exit_code, outcome.error) == (125, "the image is gone")
    assert descendants_in(spec.working_dir) == []
    assert await bench.engine.reap_orphans(WORKER, LATER) == []


async def test_a_link_in_the_way_of_a_mount_is_refused(bench: Bench) -> None:
    spec = bench.sh("true", mounts=(Mount(str(bench.root / "input"), "way/in"),))
    (spec.working_dir / "way").symlink_to(bench.root)
    outcome = await bench.engine.run(spec)
    assert (outcome.exit_code, outcome.ran) == (125, False)
    assert "is a link" in str(outcome.error)
    assert not (bench.root / "in").exists()
    assert left_of(bench.engine, outcome, spec.working_dir) == []
