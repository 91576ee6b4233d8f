"""An engine by its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.containers.base import Engine
from pipeline.containers.noop import NoopEngine
from pipeline.containers.process import ProcessEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What engines are made with; each takes what concerns it. `state_dir` must be out of reach for jobs."""

    state_dir: Path
    #: Of Docker's socket or Podman's; None: what the environment names.
    url: str | None = None
    mount_roots: Sequence[Path] = ()
    writable_roots: Sequence[Path] = ()
    networks: Sequence[str] = ()
    gpus: bool = False
    #: `uid:gid` of jobs; None: the worker's own, in containers of a worker that is root an unprivileged one.
    user: str | None = None


class UnknownEngineError(ValueError):
    """No engine has this name."""


def engine(name: str, settings: EngineSettings) -> Engine:
    """Return the engine; connects to nothing yet. Raises UnknownEngineError, naming those that there are."""
    try:
        make = _ENGINES[name]
    except KeyError:
        raise UnknownEngineError(f"no engine {name!r} (there are: {', '.join(sorted(_ENGINES))})") from None
    return make(settings)


def engine_names() -> list[str]:
    """Return the names that `engine` knows."""
    return sorted(_ENGINES)


def _docker(settings: EngineSettings) -> Engine:
    # Only who uses Docker pays for its SDK.
    from pipeline.containers.docker import DockerEngine

    return DockerEngine(**_enclosure(settings))


def _podman(settings: EngineSettings) -> Engine:
    from pipeline.containers.podman import PodmanEngine

    return PodmanEngine(**_enclosure(settings))


def _enclosure(settings: EngineSettings) -> dict[str, Any]:
    return {
        "base_url": settings.url,
        "roots": settings.mount_roots,
        "writable_roots": settings.writable_roots,
        "networks": settings.networks,
        "gpus": settings.gpus,
        "user": settings.user,
    }


_ENGINES: Mapping[str, Callable[[EngineSettings], Engine]] = {
    "docker": _docker,
    "podman": _podman,
    "noop": lambda _: NoopEngine(),
    "process": lambda settings: ProcessEngine(settings.state_dir, settings.user),
}
