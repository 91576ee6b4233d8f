"""What becomes of a command while its engine is stopped or killed and begins anew.

Docker without `live-restore` ends containers with itself; with it, and with Podman, they go on. Processes have no
engine that could be away.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from pipeline.containers import interruption
from pipeline.containers.docker import DockerEngine
from pipeline.containers.interruption import Interruption
from pipeline.containers.outcome import Outcome
from tests import image_support as images
from tests.integration.engine_support import LABELS, Bench, read, shown
from tests.integration.private_engine import PrivateEngine, private_engine

#: Ends with 7 once it is told to, but with 0, as if all were done, where somebody sends it SIGTERM.
COMMAND = "trap 'exit 0' TERM; echo up; touch up; until [ -e go ]; do sleep 0.05; done; touch over; exit 7"
NAME = images.unique_name()


@pytest.fixture(scope="module")
def docker_alone(docker_engine: docker.DockerClient) -> Iterator[PrivateEngine]:
    with private_engine("docker", outlived=False) as made:
        yield made


@pytest.fixture(scope="module")
def docker_outlived(docker_engine: docker.DockerClient) -> Iterator[PrivateEngine]:
    with private_engine("docker", outlived=True) as made:
        yield made


@pytest.fixture(scope="module")
def podman_outlived(podman_engine: docker.DockerClient) -> Iterator[PrivateEngine]:
    with private_engine("podman", outlived=True) as made:
        yield made


class Restarting:
    """A bench on an engine of its own."""

    def __init__(self, private: PrivateEngine, root: Path) -> None:
        self.private = private
        self.bench = Bench(private.engine(), root, "python3")
        self.spec = self.bench.sh(COMMAND, image=NAME)

    async def begun(self) -> "asyncio.Task[Outcome]":
        """Run it, until it has begun and the engine has said so: that answer must not be what is cut off."""
        known = asyncio.Event()
        running = asyncio.create_task(self.bench.engine.run(self.spec, on_start=lambda _: known.set()))
        await shown(self.there("up").exists)
        await asyncio.wait_for(known.wait(), 60)
        return running

    def there(self, name: str) -> Path:
        return self.spec.working_dir / name

    async def away(self, how: str, meanwhile: str = "") -> None:
        """Let the engine be away, and begin anew; a file may be made, and one be waited for, while it is."""
        await asyncio.to_thread(self.private.kill if how == "killed" else self.private.stop)
        if meanwhile:
            self.there(meanwhile).touch()
            await shown(self.there("over").exists)
        await asyncio.to_thread(self.private.start)

    async def assert_all_is_well_again(self) -> None:
        assert await asyncio.to_thread(self.private.containers) == []
        assert (await self.bench.engine.run(self.bench.sh("exit 3", image=NAME))).exit_code == 3


async def _restarting(private: PrivateEngine, root: Path) -> AsyncIterator[Restarting]:
    made = Restarting(private, root)
    images.save(root / "image", NAME)
    await made.bench.engine.load(root / "image", NAME)
    yield made
    await made.bench.engine.close()


@pytest.fixture(params=["docker", "podman"])
async def outlived(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Restarting]:
    async for made in _restarting(request.getfixturevalue(f"{request.param}_outlived"), tmp_path):
        yield made


@pytest.fixture
async def alone(docker_alone: PrivateEngine, tmp_path: Path) -> AsyncIterator[Restarting]:
    async for made in _restarting(docker_alone, tmp_path):
        yield made


@pytest.mark.docker
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_command_outlives_its_engine_and_ends_as_it_would(outlived: Restarting, how: str) -> None:
    running = await outlived.begun()
    await outlived.away(how)
    outlived.there("go").touch()
    outcome = await running
    assert (outcome.exit_code, outcome.engine_failed, outcome.error) == (7, False, None)
    assert read(outlived.spec)[0] == b"up\n"
    assert "was away" in " ".join(outcome.notes)
    await outlived.assert_all_is_well_again()


@pytest.mark.docker
async def test_what_is_printed_after_the_engine_began_anew_holds_nobody_up(outlived: Restarting) -> None:
    printing = "touch up; until [ -e go ]; do sleep 0.05; done; busybox head -c 1000000 /dev/zero; exit 7"
    outlived.spec = outlived.bench.sh(printing, image=NAME, time_limit=60.0)
    running = await outlived.begun()
    await outlived.away("killed")
    outlived.there("go").touch()
    assert (await running).exit_code == 7


@pytest.mark.docker
async def test_the_end_of_a_command_while_its_engine_is_away_is_not_missed(outlived: Restarting) -> None:
    running = await outlived.begun()
    await outlived.away("killed", meanwhile="go")
    outcome = await running
    assert (outcome.exit_code, outcome.engine_failed, outcome.error) == (7, False, None)
    await outlived.assert_all_is_well_again()


@pytest.mark.docker
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_command_that_ends_with_its_engine_is_the_engines_failure(alone: Restarting, how: str) -> None:
    running = await alone.begun()
    await alone.away(how)
    outcome = await running
    assert outcome.engine_failed
    assert not outcome.succeeded
    assert "Docker" in str(outcome.error)
    await alone.assert_all_is_well_again()


async def test_a_container_that_is_stopped_by_hand_did_not_end_itself(
    docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    bench = Bench(DockerEngine(), tmp_path, "python3")
    running = asyncio.create_task(bench.engine.run(bench.sh(COMMAND)))
    await shown((tmp_path / "work" / "up").exists)
    mine = {"label": f"jobstream.worker={LABELS.worker}"}
    # its command may have begun before the engine says that it runs
    (container,) = await shown(lambda: docker_engine.containers.list(filters=mine))
    await asyncio.to_thread(container.stop)
    outcome = await running
    await bench.engine.close()
    assert (outcome.exit_code, outcome.engine_failed) == (0, True)
    assert "signal 15" in str(outcome.error)


def test_how_long_an_engine_is_away_counts_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    watched = Interruption("Docker", docker.DockerClient(base_url="tcp://127.0.0.1:9", version="1.41"), "x")
    assert watched.away == 0.0
    assert [watched.lost(), watched.lost()] == [True, False]
    now[0] += 5
    assert math.isclose(watched.away, 5)
    watched.found()
    now[0] += 500
    watched.lost()
    now[0] += 2
    assert math.isclose(watched.away, 2)
