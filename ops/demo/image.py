"""The container image that the demo's jobs run in, built where it is missing."""

import os
import subprocess
from pathlib import Path

from ops.cluster import Tell
from ops.cluster.steps import step
from ops.demo.errors import DemoError

TAG = "jobstream/demo:1"
_SCRIPT = Path(__file__).parent.parent / "containers" / "demo-image.sh"
#: Seconds: half a minute with packages in reach, minutes over a slow network.
_BUILD_TIMEOUT = 900
_LINES = 5


def ensure(tell: Tell) -> None:
    """Have the image in the engine that DOCKER_HOST names; raises DemoError without an engine or a way to build."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    with step(tell, "image") as outcome:
        try:
            client = docker.from_env(timeout=30)
            client.ping()
        except DockerException as absent:
            asked = os.environ.get("DOCKER_HOST", "the default socket")
            raise DemoError(
                f"no Docker engine answers at {asked} ({absent}): start one, or set DOCKER_HOST; "
                "without an engine, DEMO_ENGINE=process runs the jobs as processes"
            ) from absent
        try:
            client.images.get(TAG)
            outcome.detail = f"{TAG} is there"
        except ImageNotFound:
            _build()
            outcome.detail = f"{TAG} built"
        finally:
            client.close()


def _build() -> None:
    try:
        built = subprocess.run([str(_SCRIPT), TAG], capture_output=True, text=True, timeout=_BUILD_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as late:
        raise DemoError(f"{_SCRIPT.name} did not build {TAG} within {_BUILD_TIMEOUT} s: is the network up?") from late
    if built.returncode != 0:
        said = " | ".join(built.stderr.strip().splitlines()[-_LINES:])
        raise DemoError(f"{_SCRIPT.name} could not build {TAG}: {said}")
