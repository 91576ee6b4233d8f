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
    #: Apptainer's: the folder of its images (None: one below `state_dir`), its program, by path or name.
    apptainer_images: Path | None = None
    apptainer: str = "apptainer"


class UnknownEngineError(ValueError):
    """No engine has this name."""


def engine(name: str, settings: EngineSettings) -> Engine:
    """Return the engine of this or another of its names; connects to nothing yet.

    Raises UnknownEngineError, naming those that there are.
    """
    try:
        make = _ENGINES[canonical(name)]
    except KeyError:
        raise UnknownEngineError(f"no engine {name!r} (there are: {', '.join(sorted(_ENGINES))})") from None
    return make(settings)


def engine_names() -> list[str]:
    """Return the engines' own names."""
    return sorted(_ENGINES)


def canonical(name: str) -> str:
    """Return an engine's own name for one that it is called by too; any other as it is."""
    return _ALIASES.get(name, name)


def names_of(name: str) -> tuple[str, ...]:
    """Return all names of the engine with this one, its own first."""
    own = canonical(name)
    return (own, *(alias for alias, meant in _ALIASES.items() if meant == own))


def _docker(settings: EngineSettings) -> Engine:
    # Only who uses Docker pays for its SDK.
    from pipeline.containers.docker import DockerEngine

    return DockerEngine(base_url=settings.url, **_enclosure(settings))


def _podman(settings: EngineSettings) -> Engine:
    from pipeline.containers.podman import PodmanEngine

    return PodmanEngine(base_url=settings.url, **_enclosure(settings))


def _apptainer(settings: EngineSettings) -> Engine:
    from pipeline.containers.apptainer import ApptainerEngine

    images = settings.apptainer_images or settings.state_dir / "images"
    return ApptainerEngine(settings.state_dir, images, program=settings.apptainer, **_enclosure(settings))


def _enclosure(settings: EngineSettings) -> dict[str, Any]:
    return {
        "roots": settings.mount_roots,
        "writable_roots": settings.writable_roots,
        "networks": settings.networks,
        "gpus": settings.gpus,
        "user": settings.user,
    }


#: Apptainer's name before it was renamed; who still has programs of that name runs the same images by the same options.
_ALIASES = {"singularity": "apptainer"}
_ENGINES: Mapping[str, Callable[[EngineSettings], Engine]] = {
    "apptainer": _apptainer,
    "docker": _docker,
    "podman": _podman,
    "noop": lambda _: NoopEngine(),
    "process": lambda settings: ProcessEngine(settings.state_dir, settings.user),
}
