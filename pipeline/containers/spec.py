"""What an engine is asked to run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.containers.output import Observer
from pipeline.secrets import Mask

Mode = Literal["ro", "rw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Whose run it is: what an orphan is recognised by."""

    job: str
    attempt: int
    holder: str
    worker: str


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path to be seen in the container; a relative `container` path lies under the working directory."""

    host: str
    container: str
    mode: Mode = "ro"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One command with all it is given, and its limits.

    The working directory exists and is writable in the container under the same path. `env` is all the environment
    that the command gets, but for what an engine must add (each engine says what). Standard output and error go to
    the two files, made anew, byte for byte; of a stream longer than `output_limit` bytes the middle is cut, which file
    and notes say. Times are in seconds from the command's start.
    """

    argv: tuple[str, ...]
    working_dir: Path
    stdout: Path
    stderr: Path
    labels: Labels
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    #: What `image` stood for when it was looked up; None: what it stands for at the start.
    image_id: str | None = None
    mounts: tuple[Mount, ...] = ()
    #: `uid:gid`; None leaves it to the engine.
    user: str | None = None
    memory_mib: int = 1024
    cpus: float = 1.0
    pids_limit: int = 512
    network: str = "none"
    #: A number of GPUs, or "all".
    gpus: int | str | None = None
    shm_mib: int = 64
    #: SIGTERM after this; the command has until the hard limit (without one: the grace) to end.
    soft_time_limit: float | None = None
    #: SIGKILL after this.
    time_limit: float | None = None
    #: Time between a requested stop's SIGTERM and SIGKILL.
    grace: float = 5.0
    #: None: no limit.
    output_limit: int | None = None
    observer: Observer | None = None
    #: What is not to be seen of what the command prints.
    mask: Mask = field(default_factory=Mask, repr=False)
    #: The job's parameters, for an engine that runs no command.
    params: Mapping[str, Any] = field(default_factory=dict)
