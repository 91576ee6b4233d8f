"""Whose a container of Docker's is, by its labels; and the end of those that nobody watches any more."""

from pathlib import Path

import docker
from docker.errors import NotFound

from pipeline.containers.base import Orphan
from pipeline.containers.spec import Labels

#: Names of the labels that containers carry.
JOB, ATTEMPT, HOLDER, WORKER, DIRECTORY = (
    f"jobstream.{name}" for name in ("job", "attempt", "holder", "worker", "directory")
)


def labels(run: Labels, directory: Path) -> dict[str, str]:
    """Return the labels of a run's container."""
    return {
        JOB: run.job,
        ATTEMPT: str(run.attempt),
        HOLDER: run.holder,
        WORKER: run.worker,
        DIRECTORY: str(directory),
    }


def reap(client: docker.DockerClient, worker: str, holder: str) -> list[Orphan]:
    """Remove the containers of a worker's other holders, and say which those were; raises DockerException."""
    found = []
    for container in client.containers.list(all=True, filters={"label": f"{WORKER}={worker}"}, ignore_removed=True):
        given = container.labels
        if given.get(HOLDER) == holder:
            continue
        try:
            container.remove(force=True, v=True)
        except NotFound:
            continue
        directory = given.get(DIRECTORY)
        found.append(
            Orphan(
                job=given.get(JOB, ""),
                attempt=int(given.get(ATTEMPT) or 0),
                holder=given.get(HOLDER, ""),
                working_dir=Path(directory) if directory else None,
            )
        )
    return found
