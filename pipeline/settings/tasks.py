"""A task worker's settings."""

import socket

from pydantic import Field

from pipeline.settings.section import Section


class TaskSettings(Section):
    """A task worker: light Python functions without containers (decision 017)."""

    id: str = Field(
        default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}$", description="worker id"
    )
    queues: tuple[str, ...] = Field(("default",), description="queues whose tasks it takes, of topics.task_queues")
    slots: int = Field(2, ge=1, le=64, description="tasks of each queue at once")
    functions: tuple[str, ...] = Field(
        ("echo", "sleep"), description="what tasks may call: entry points of jobstream.tasks, or dotted names"
    )
    source: str = Field(
        "share", pattern="^(share|group)$", description="how records are taken: a share group, or a consumer group"
    )
    lock_ms: int = Field(
        60_000,
        ge=15_000,
        le=540_000,
        description="ms that a record is held at most; the same on all workers of a queue",
    )
    time_limit: float = Field(30.0, gt=0, description="s that a function may take where its task doesn't say")
    kill_grace: float = Field(2.0, ge=0, le=60, description="s between SIGTERM and SIGKILL of a function")
    grace: float = Field(10.0, ge=0, description="s that running functions get when the worker is told to stop")
    max_attempts: int = Field(3, ge=1, le=20, description="attempts of a task that doesn't say")
    max_deliveries: int = Field(
        5, ge=1, le=7, description="times that an attempt is begun, if its worker dies each time, until it is given up"
    )
    retry_backoff_ms: int = Field(1000, ge=0, description="ms before the second attempt; doubles with each")
    retry_backoff_max_ms: int = Field(300_000, ge=0, description="ms, the longest back-off")
    result_kib: int = Field(64, ge=0, le=256, description="KiB of a result that are kept; a longer one isn't")
    keep_failed: bool = Field(False, description="keep the directories of all failed tasks, as if each asked for it")
    keep: float = Field(86_400.0, ge=0, description="s that kept directories stay")
    environment: tuple[str, ...] = Field((), description="variables of the worker that functions get too")
    session_ms: int = Field(10_000, ge=6000, description="ms until a dead worker's place in a consumer group is free")
