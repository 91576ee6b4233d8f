"""Runs a task worker as a process."""

import logging
import signal

from agents.admin import TopicError
from agents.logging import configure
from agents.tasks.share_group import ShareGroupError
from agents.tasks.worker import MisconfiguredError, TaskWorker, check
from agents.worker.exits import Exit
from agents.worker.identity import Seat, TakenError
from pipeline.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Run a task worker until SIGTERM or SIGINT (a second one: at once); return its exit code, an `Exit`.

    Needs no broker to start: it waits for one. Killed at any moment, what it ran is handed to another worker.
    """
    configure(settings, "task-worker")
    try:
        check(settings)
        seat = Seat(settings.home, f"task-{settings.tasks.id}")
    except MisconfiguredError as error:
        log.error("can't start: %s", error)
        return Exit.MISCONFIGURED
    except TakenError as error:
        log.error("can't start: %s", error)
        return Exit.TAKEN
    worker = TaskWorker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        return Exit.OK if worker.live() else Exit.FAILED
    except (ShareGroupError, TopicError) as error:
        log.error("can't start: %s", error)
        return Exit.MISCONFIGURED
    except Exception:
        log.exception("the task worker failed")
        return Exit.FAILED
    finally:
        seat.leave()
