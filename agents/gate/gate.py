"""The gate's threads: reports and control, submissions, and the two that watch for them."""

import os
import threading
from collections.abc import Callable

import structlog

from agents import admin as topics
from agents.bus import Publisher
from agents.gate.lag import Lag
from agents.gate.loop import Loop
from agents.gate.queues import Queues
from agents.gate.reports import Reports
from agents.gate.submissions import Submissions
from agents.registry import codec
from pipeline.settings import Settings
from pipeline.submission import creators

log = structlog.stdlib.get_logger(__name__)

#: Exit code of a process whose gate died.
EXIT_CODE = 70
#: Seconds that each thread gets to end.
_JOIN = 30.0


def _end_process() -> None:
    os._exit(EXIT_CODE)


class Gate:
    """Takes submissions, reports and control into the inbox; `start` once, `stop` once.

    A thread that dies calls `died`, which by default ends the process at once: half a gate would look alive, and a new
    one goes on from what was committed.
    """

    def __init__(self, settings: Settings, died: Callable[[], None] = _end_process) -> None:
        self._died = died
        self._stop = threading.Event()
        topology = settings.topology
        self._settings = settings
        self._publisher = Publisher(settings, topology.name("jobstream-gate-queues"))
        admin = topics.client(settings, "jobstream-gate")
        self._lag = Lag(settings)
        self._queues = Queues(settings, admin, self._publisher)
        made = creators.load(settings.gate.creators_file, settings.gate.creators_dir)
        self._submissions = Submissions(settings, codec(settings), made, self._queues)
        reports = Reports(topology, codec(settings), settings.key())
        self._loops = [
            Loop(
                settings,
                "reports",
                [topology.reports.name, topology.control.name],
                lambda records: [reports.decide(one) for one in records],
            ),
            Loop(
                settings,
                "submit",
                [topology.submit.name],
                self._submissions.decide,
                paused=lambda: self._lag.too_far,
                forwarded=self._lag.count,
            ),
        ]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads. Raises TopicError where the topics aren't as the settings have them."""
        topics.check_ready(self._settings)
        work: dict[str, Callable[[], None]] = {loop.name: loop.run for loop in self._loops}
        work["jobstream-gate-settings"] = lambda: self._queues.follow(self._stop.is_set)
        work["jobstream-gate-lag"] = lambda: self._lag.watch(self._stop)
        for name, run in work.items():
            thread = threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Finish the batches in hand, commit, leave the groups; waits for each thread for 30 s at most."""
        for loop in self._loops:
            loop.stop()
        # the watchers go last: a batch in hand may still need a queue
        for thread in self._threads[: len(self._loops)]:
            thread.join(_JOIN)
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN)
        self._submissions.close()
        self._publisher.close()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException:
            log.exception("the gate can't go on", thread=threading.current_thread().name)
            self._died()
