"""A worker's settings."""

import os
import socket
from pathlib import Path

from pydantic import Field

from pipeline.settings.section import Section


class WorkerSettings(Section):
    """A worker (design §6)."""

    id: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9._-]{1,80}$", description="worker id")
    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1000, description="jobs at once")
    engine: str = Field("process", description="process, docker, podman, apptainer (or singularity), noop")
    queues: tuple[str, ...] = Field(("*",), description="queues whose jobs it takes; * is all")
    labels: dict[str, str] = Field(default_factory=dict, description="what it offers beyond resources")
    memory_mib: int = Field(0, ge=0, description="MiB offered; 0: what the machine has")
    disk_mib: int = Field(0, ge=0, description="MiB offered; 0: what the work root's disk has free")
    disk_keep_percent: int = Field(
        10, ge=0, le=90, description="% of the work root's disk that old work directories and the cache make way for"
    )
    gpus: int = Field(0, ge=0, description="GPUs offered")
    root: Path | None = Field(None, description="root work directory; none: HOME/work")
    store: Path | str | None = Field(
        None, description="where products are published: a folder or s3://bucket/prefix; none: HOME/products"
    )
    extractors: tuple[Path, ...] = Field((), description="programs, or folders of them, that rules may name")
    jobs_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="of what serves the work root; none: as job_worker.json says"
    )
    job_worker_file: Path | None = Field(None, description="job_worker.json: commands by job type")
    datasets_file: Path | None = Field(None, description="datasets.json: recognition rules")
    heartbeat_ms: int = Field(15_000, ge=200, description="ms between two heartbeats; a lease is at least 3 of them")
    status_ms: int = Field(3000, ge=100, description="ms between two statuses where nothing changes")
    ahead_ms: int = Field(
        250, ge=0, description="ms before a short job's expected end when its slot is offered; 0: never"
    )
    grace: float = Field(30.0, ge=0, description="s that running jobs get to finish when the worker is told to stop")
    kill_grace: float = Field(5.0, ge=0, description="s between SIGTERM and SIGKILL of a job")
    mounts: tuple[Path, ...] = Field((), description="directories that jobs may mount, besides their own")
    user: str | None = Field(
        None, pattern=r"^\d+:\d+$", description="uid:gid of jobs; none: the worker's own, in containers 10001 for root"
    )
    apptainer: str = Field("apptainer", min_length=1, description="Apptainer's program: its path, or a name in PATH")
    apptainer_images: Path | None = Field(
        None, description="folder of Apptainer's images, SIF files or root directories; none: HOME/apptainer"
    )
    transfer_timeout: float = Field(
        3000.0, gt=0, description="s that an attempt's inputs, and publishing its products, may each take"
    )
    pre: tuple[str, ...] = Field((), description="pre-processors of each job: entry points or dotted names")
    post: tuple[str, ...] = Field((), description="post-processors of each job")
    processors: tuple[str, ...] = Field((), description="pre- and post-processors that a job may name itself")
    processor_timeout: float = Field(600.0, gt=0, description="s that a pre- or post-processor may take")
    output_mib: int = Field(
        256, ge=1, description="MiB of a job's standard output, and of its standard error, that are kept"
    )
    log_mib: int = Field(16, ge=0, description="MiB of an attempt's output that are sent while it runs; 0: no logs")
    log_rate_kib: int = Field(512, ge=1, description="KiB a second of an attempt's output that are sent, on average")
    triage_mib: int = Field(1024, ge=1, description="MiB kept of a failed job that has `triage` in its post")
    triage_partition: str | None = Field(
        None, pattern="^[A-Za-z0-9%._-]{1,40}$", description="strftime format in the index's name of triage datasets"
    )
    metadata: str = Field(
        "auto",
        pattern=r"^(auto|off|http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}))?/?)$",
        description="URL of EC2's metadata service; auto: the usual one where the machine is EC2's; off: none",
    )
    notice_check: float = Field(
        5.0, ge=0, description="s between two looks whether a spot instance will be taken away; 0: it is not looked for"
    )
    replays: bool = Field(
        False, description="whether jobs run whose submissions were sent again by `jobstream replay submissions`"
    )
    secrets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="names that jobs may refer to, secret://NAME, and patterns of their types"
    )
    secrets_dir: Path | None = Field(
        None, description="folder of secrets, a file a name, where JOBSTREAM_SECRET_NAME isn't set"
    )
    drain_failures: int = Field(11, ge=0, description="failures of the last drain_runs that drain the worker; 0: never")
    drain_runs: int = Field(12, ge=1, description="runs that are looked at for that, at least one a slot")
    drain_window: float = Field(86_400.0, gt=0, description="s after which a run is not looked at any more")
