"""Needs against offers: whether a worker could ever run a job, and why not."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from pipeline.messages.needs import Needs
from pipeline.messages.status import ANY_QUEUE, WorkerStatus

#: Reasons to take no jobs that are told, the most frequent ones.
_REASONS = 3


class Lack(Enum):
    """Why a worker can't run a job, however idle it is; the value completes "N workers …"."""

    QUEUE = "do not take this queue"
    ENGINE = "do not have the engine"
    LABELS = "do not carry the labels"
    MEMORY = "offer too little memory"
    DISK = "offer too little disk"
    GPUS = "offer too few GPUs"
    SLOTS = "have no slots"


def lack(queue: str, needs: Needs, offer: WorkerStatus) -> Lack | None:
    """Return the first thing that the offer as a whole lacks, None where the worker could run the job.

    Workers to avoid are not counted: to avoid one is a wish, see `Fleet.pick`.
    """
    if queue not in offer.queues and ANY_QUEUE not in offer.queues:
        return Lack.QUEUE
    if needs.engine is not None and needs.engine not in offer.engines:
        return Lack.ENGINE
    if any(offer.labels.get(name) != value for name, value in needs.labels.items()):
        return Lack.LABELS
    if offer.memory_mib < needs.memory_mib:
        return Lack.MEMORY
    if offer.disk_mib < needs.disk_mib:
        return Lack.DISK
    if offer.gpus < needs.gpus:
        return Lack.GPUS
    return Lack.SLOTS if offer.slots < 1 else None


def explain(queue: str, needs: Needs, offers: Iterable[WorkerStatus], apart: Iterable[str] = ()) -> str:
    """Say why none of the offers meets the needs; the empty text where one does.

    `apart` are the reasons of workers that are there and take no jobs at all.
    """
    lacks: Counter[Lack] = Counter()
    for offer in offers:
        missing = lack(queue, needs, offer)
        if missing is None:
            return ""
        lacks[missing] += 1
    reasons = Counter(apart)
    if not lacks and not reasons:
        return "no worker is there"
    parts = [f"{count} {missing.value}{_asked(missing, queue, needs)}" for missing, count in lacks.most_common()]
    parts += [f"{count} take no jobs ({reason})" for reason, count in reasons.most_common(_REASONS)]
    return f"no worker can run it: of {lacks.total() + reasons.total()}, {', '.join(parts)}"


def _asked(missing: Lack, queue: str, needs: Needs) -> str:
    asked = {
        Lack.QUEUE: queue,
        Lack.ENGINE: needs.engine,
        Lack.LABELS: " ".join(f"{name}={value}" for name, value in sorted(needs.labels.items())),
        Lack.MEMORY: f"{needs.memory_mib} MiB",
        Lack.DISK: f"{needs.disk_mib} MiB",
        Lack.GPUS: needs.gpus,
    }
    return f" ({asked[missing]})" if missing in asked else ""
