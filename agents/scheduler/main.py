"""Runs a scheduler as a process of its own; several may run, one leads."""

import signal
import threading

import structlog
from confluent_kafka import KafkaException

from agents import generations
from agents.admin import TopicError, check_ready
from agents.bus import DeliveryError
from agents.logging import configure
from agents.patience import patiently
from agents.scheduler.feed import FeedError
from agents.scheduler.turn import Agent
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: It could not start.
EXIT_UNREADY = 1
#: Seconds for which a start waits for what the broker may yet answer.
START = 60.0
#: It gave up, and a new process may do better.
EXIT_FAILED = 70


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return 0, 1 where it could not start, 70 where it gave up."""
    configure(settings, "scheduler")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        agent = _begin(settings, ended)
    except (TopicError, FeedError, KafkaException, OSError) as error:
        if ended.is_set():
            return 0
        log.error("the scheduler can't start", error=str(error))
        return EXIT_UNREADY
    log.info("the scheduler stands by", brokers=settings.kafka.bootstrap)
    try:
        agent.run(ended.is_set)
    except (FeedError, TopicError, DeliveryError, KafkaException, OSError) as error:
        log.error("the scheduler gives up", error=str(error))
        return EXIT_FAILED
    finally:
        agent.close()
    return 0


def _begin(settings: Settings, ended: threading.Event) -> Agent:
    """Return an agent that has begun to read."""
    check_ready(settings)
    # its claims would go to an inbox that nobody reads any more
    generations.check(settings, ended)
    # a topic that was just made may have no leader for a moment
    return patiently(lambda: Agent(settings), START, ended)
