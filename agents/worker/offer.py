"""What a worker offers, by its settings and by what the machine has."""

import socket
from pathlib import Path

import psutil

from pipeline import __version__
from pipeline.containers.factory import names_of
from pipeline.messages.status import WorkerStatus
from pipeline.settings import Settings

_MIB = 1024 * 1024


def offer(settings: Settings, holder: str) -> WorkerStatus:
    """Return the status of a worker that holds nothing."""
    worker = settings.worker
    return WorkerStatus(
        worker_id=worker.id,
        holder=holder,
        commands_partition=settings.topology.commands_partition(worker.id),
        slots=worker.slots,
        memory_mib=worker.memory_mib or psutil.virtual_memory().total // _MIB,
        disk_mib=worker.disk_mib or psutil.disk_usage(str(_existing(settings.work_root))).free // _MIB,
        gpus=worker.gpus,
        queues=worker.queues,
        labels=worker.labels,
        engines=names_of(worker.engine),
        host=socket.gethostname(),
        version=__version__,
    )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
