"""Why a job waits: the scheduler's own core, over the same topics, read to their ends of now."""

import time
from collections.abc import Iterator

from agents.registry import codec
from agents.scheduler.records import Reader
from ops.reading.log import Log
from ops.reading.queues import queue_settings
from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.message import Message, Now
from pipeline.scheduling.rules import Rules
from pipeline.scheduling.view import Why, why
from pipeline.settings import Settings
from pipeline.topic import Topic


def why_it_waits(settings: Settings, job_id: str, attempt: int) -> Why | None:
    """Say what a waiting attempt waits for and how many go before it, None for one that doesn't wait.

    Raises `ops.reading.log.BrokerError` where Kafka can't be reached.
    """
    topology, known = settings.topology, settings.scheduler
    rules = Rules(known.silence_ms, known.claim_retry_ms, known.slow_partition_ms, known.priority_step_ms)
    scheduler = Scheduler("why", rules, topology.job_partition)
    topics = [topology.settings, topology.status, *(topology.run(queue) for queue in queue_settings(settings))]
    with Log(settings) as log:
        for topic in topics:
            for message in _messages(settings, log, topic):
                scheduler.apply(message)
    scheduler.apply(Now(int(time.time() * 1000)))
    return why(scheduler, job_id, attempt)


def _messages(settings: Settings, log: Log, topic: Topic) -> Iterator[Message]:
    # what is found is the answer: people get it once, and programs nothing beside it
    sealing = settings.security.sealing
    reader = Reader(settings.topology, codec(settings), sealing=sealing, warn=lambda *_, **__: None)
    for record in log.read(topic, 0):
        message = reader.message(record)
        if message is not None:
            yield message
