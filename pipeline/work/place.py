"""Where attempts run: one worker's engine, directories and defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.containers.base import Engine
from pipeline.secrets import Vault
from pipeline.work.directory import WorkRoot
from pipeline.work.errors import AttemptError
from pipeline.work.facts import host_facts
from pipeline.work.worker_config import JobWorkerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a command may use where its job doesn't say."""

    memory_mib: int = 1024
    cpus: float = 1.0
    pids: int = 512
    shm_mib: int = 64
    #: Seconds; None: no limit.
    time_limit: float | None = None

    @classmethod
    def of(cls, needs: Mapping[str, Any], default: "Limits") -> "Limits":
        """Return what a job needs, the defaults where that is absent or 0; raises AttemptError for no number."""
        return cls(
            memory_mib=int(_positive(needs, "memory_mib") or default.memory_mib),
            cpus=_positive(needs, "cpus") or default.cpus,
            pids=int(_positive(needs, "pids") or default.pids),
            shm_mib=default.shm_mib,
            time_limit=default.time_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all attempts of a worker have in common."""

    engine: Engine
    root: WorkRoot
    worker: str
    limits: Limits = field(default_factory=Limits)
    #: Commands by job type; None: jobs bring their own (spec §2.3).
    worker_config: JobWorkerConfig | None = None
    #: Seconds between SIGTERM and SIGKILL.
    grace: float = 5.0
    #: `uid:gid` of the commands; None leaves it to the engine.
    user: str | None = None
    #: The rules by which products are published, for `job_info` to name; None: nothing is published.
    datasets_file: Path | None = None
    #: What work directories' URLs begin with, such as `http://host:8085`; None: no URLs.
    url: str | None = None
    #: Seconds that bringing the inputs, and publishing the products, may each take.
    transfer_timeout: float = 6 * 3600.0
    #: Seconds that a pre- or post-processor may take.
    processor_timeout: float = 3600.0
    #: Bytes of standard output, and of standard error, that are kept; None: all.
    output_limit: int | None = None
    #: Secrets that jobs may refer to.
    vault: Vault = field(default_factory=lambda: Vault({}))
    facts: Mapping[str, Any] = field(default_factory=host_facts)

    @property
    def execute_node(self) -> str:
        """This host's name."""
        return str(self.facts.get("hysds_execute_node", ""))


def _positive(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None or value == 0:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 < number < 1e12:
        raise AttemptError(f"{name} {value!r} isn't a positive number")
    return number


def time_limit(job_info: Mapping[str, Any], name: str, default: float | None = None) -> float | None:
    """Return a limit of a job in seconds, the default where it has none; raises AttemptError for no number."""
    return _positive(job_info, name) or default
