"""What an attempt adds to its container: the same one through the Docker SDK, our engine, and in a whole attempt."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from ops.bench.errors import BenchError
from pipeline.containers.docker import DockerEngine
from pipeline.containers.ownership import default_user, give, parse_user
from pipeline.containers.spec import Labels, RunSpec
from pipeline.work.attempt import run_attempt
from pipeline.work.directory import WorkRoot
from pipeline.work.place import Place

#: Hears what is being done.
Say = Callable[[str], None]
IMAGE = "jobstream/busybox:1"
_ARGV = ("true",)
_WORKER, _HOLDER = "bench", "bench:1:a"
_TELL_EVERY = 10


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that one way of running the container took, each time."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Their median."""
        return statistics.median(self.seconds)

    @property
    def quartiles_ms(self) -> list[float]:
        """Lower quartile, median and upper quartile in ms."""
        return [round(1000 * value, 1) for value in statistics.quantiles(self.seconds, n=4)]

    def over(self, other: "Times") -> float:
        """Return the ratio of the medians."""
        return round(self.median / other.median, 3)

    def paired_over(self, other: "Times") -> list[float]:
        """Return the quartiles of the ratios of what ran in one round: the machine's other load counts for both."""
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
        return [round(value, 3) for value in statistics.quantiles(ratios, n=4)]


def measure(rounds: int, say: Say) -> dict[str, Any]:
    """Run the container in all three ways `rounds` times, in turns, and return times and ratios.

    Raises BenchError where no Docker engine answers, or it has no IMAGE.
    """
    client = _client()
    try:
        with tempfile.TemporaryDirectory(prefix="jobstream-bench-") as folder:
            times = asyncio.run(_Ways(client, Path(folder)).compare(rounds, say))
    finally:
        client.close()
    sdk, engine, attempt = times["sdk"], times["engine"], times["attempt"]
    return {
        "rounds": rounds,
        **{f"{name}_ms": taken.quartiles_ms for name, taken in times.items()},
        "engine_ratio": engine.over(sdk),
        "engine_ratio_in_pairs": engine.paired_over(sdk),
        "attempt_ratio": attempt.over(sdk),
        "attempt_ratio_in_pairs": attempt.paired_over(sdk),
    }


def _client() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=60)
        client.images.get(IMAGE)
    except docker.errors.ImageNotFound as error:
        raise BenchError(f"Docker has no image {IMAGE}: `make images` builds it") from error
    except DockerException as error:
        host = os.environ.get("DOCKER_HOST", "its usual place")
        raise BenchError(f"no Docker engine answers (DOCKER_HOST: {host}): {error}") from error
    return client


class _Ways:
    """The three ways; each has a fresh directory, made before the clock runs but where that is the attempt's work."""

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._engine = DockerEngine()
        self._place = Place(engine=self._engine, root=WorkRoot(folder / "root", _WORKER), worker=_WORKER)
        self._user = parse_user(default_user())

    async def compare(self, rounds: int, say: Say) -> dict[str, Times]:
        """Run one round that doesn't count, then `rounds` that do, beginning with another way each time."""
        ways = {"sdk": self._sdk, "engine": self._run, "attempt": self._attempt}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        try:
            for number in range(rounds + 1):
                turn = number % len(ways)
                for name in [*ways][turn:] + [*ways][:turn]:
                    seconds = await ways[name](f"{name}-{number}")
                    if number > 0:
                        taken[name].append(seconds)
                if number and number % _TELL_EVERY == 0:
                    say(f"{number} of {rounds} rounds; load {os.getloadavg()[0]:.1f}")
        finally:
            await self._engine.close()
        return {name: Times(seconds) for name, seconds in taken.items()}

    async def _sdk(self, name: str) -> float:
        spec = self._spec(name)
        give(spec.working_dir, *self._user)
        options = dict(self._engine.describe(spec))
        environment = {"HOME": str(spec.working_dir), "TINI_KILL_PROCESS_GROUP": "1"}
        return await _timed(lambda: asyncio.to_thread(_by_sdk, self._client, options, environment))

    async def _run(self, name: str) -> float:
        spec = self._spec(name)

        async def run() -> None:
            outcome = await self._engine.run(spec)
            if not outcome.succeeded:
                raise BenchError(f"the engine failed: {outcome}")

        return await _timed(run)

    async def _attempt(self, name: str) -> float:
        job: Mapping[str, Any] = {
            "job_id": name,
            "type": "bench-noop",
            "params": {"_command": " ".join(_ARGV)},
            "container_image_name": IMAGE,
            "job_info": {},
        }

        async def run() -> None:
            result = await run_attempt(job, self._place, attempt=1, holder=_HOLDER, task_id="bench")
            if not result.succeeded:
                raise BenchError(f"the attempt failed: {result.error}")

        return await _timed(run)

    def _spec(self, name: str) -> RunSpec:
        directory = self._folder / name
        directory.mkdir()
        return RunSpec(
            argv=_ARGV,
            working_dir=directory,
            stdout=directory / "_stdout.txt",
            stderr=directory / "_stderr.txt",
            labels=Labels(job=name, attempt=1, holder=_HOLDER, worker=_WORKER),
            image=IMAGE,
        )


def _by_sdk(client: docker.DockerClient, options: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """What a person would write: create, attach, start, collect the output, wait, remove."""
    container = client.containers.create(IMAGE, list(_ARGV), environment=dict(environment), **options)
    try:
        output = container.attach(stdout=True, stderr=True, stream=True, demux=True)
        container.start()
        list(output)
        ended = container.wait()
    finally:
        container.remove(force=True, v=True)
    if ended["StatusCode"] != 0:
        raise BenchError(f"the container failed: {ended}")


async def _timed(run: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await run()
    return time.perf_counter() - begun
