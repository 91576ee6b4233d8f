"""Runs the gate as a process of its own."""

import signal
import threading

import structlog

from agents.admin import TopicError
from agents.gate.gate import EXIT_CODE, Gate
from agents.logging import configure
from pipeline.settings import Settings
from pipeline.submission.errors import CreatorsError

__all__ = ["Gate", "run"]

log = structlog.stdlib.get_logger(__name__)


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return 0, 1 where it could not start, 70 where a thread of it died."""
    configure(settings, "gate")
    ended, dead = threading.Event(), threading.Event()

    def died() -> None:
        dead.set()
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        gate = Gate(settings, died)
        gate.start()
    except (TopicError, CreatorsError, OSError) as error:
        log.error("the gate can't start", error=str(error))
        return 1
    log.info("the gate is open", brokers=settings.kafka.bootstrap)
    # a wait without time-out would keep signals from being handled on some platforms
    while not ended.wait(1.0):
        pass
    gate.stop()
    return EXIT_CODE if dead.is_set() else 0
