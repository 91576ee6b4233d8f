"""The gate's threads: reports and control, submissions, and the two that watch for them."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from agents import admin as topics
from agents import generations
from agents.bus import Publisher
from agents.gate.job_types import JobTypes
from agents.gate.lag import Lag
from agents.gate.loop import Loop
from agents.gate.queues import Queues
from agents.gate.rate import Rate
from agents.gate.record import Incoming, Outgoing
from agents.gate.reports import Reports
from agents.gate.submissions import Submissions
from agents.job_types import publish
from agents.registry import codec
from pipeline.jobtypes import files
from pipeline.jobtypes.job_type import JobType
from pipeline.jobtypes.problems import InvalidError
from pipeline.settings import GateSettings, Settings
from pipeline.submission import creators
from pipeline.submission.errors import CreatorsError

log = structlog.stdlib.get_logger(__name__)

#: Exit code of a process whose gate died.
EXIT_CODE = 70
#: Seconds that each thread gets to end.
_JOIN = 30.0
#: Seconds for which a start waits for the broker, whose new topics have no leaders at first; and between two tries.
_START, _PAUSE = 60.0, 0.2


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
        # before any client, whose threads would outlive what these may raise
        self._own_types = _types_of(settings.gate.job_types_dir)
        made = creators.load(settings.gate.creators_file, settings.gate.creators_dir)
        self._publisher = Publisher(settings, topology.name("jobstream-gate-queues"))
        admin = topics.client(settings, "jobstream-gate")
        self._lag = Lag(settings)
        self._queues = Queues(settings, admin, self._publisher)
        self._job_types = JobTypes(self._queues.catch_up)
        self._queues.heard = self._job_types.fold
        self._submissions = Submissions(settings, codec(settings), made, self._queues, self._job_types)
        reports = Reports(topology, codec(settings), settings.key())
        self._deciding = threading.Lock()
        self._loops = [
            Loop(
                settings,
                "reports",
                [topology.reports.name, topology.control.name],
                lambda records: [reports.decide(one) for one in records],
            ),
            *(self._loop_of(principal) for principal in (None, *topology.principals)),
        ]
        self._working: list[threading.Thread] = []
        self._watching: list[threading.Thread] = []

    def _loop_of(self, principal: str | None) -> Loop:
        """Return the loop over a principal's submissions, None: over those of jobs.submit.

        Each has a consumer of its own: one that must wait, for its rate, makes nobody else wait.
        """
        settings, lag = self._settings, self._lag
        per_second = _rate_of(settings.gate, principal)
        rate = Rate(per_second) if per_second else None

        def forwarded(number: int) -> None:
            lag.count(number)
            if rate is not None:
                rate.count(number)

        return Loop(
            settings,
            "submit" if principal is None else f"submit.{principal}",
            [settings.topology.submit_of(principal).name],
            self._decide,
            allowance=lambda: lag.allowance if rate is None else min(lag.allowance, rate.allowance),
            forwarded=forwarded,
            points="submit" if principal is None else "principal",
        )

    def _decide(self, records: Sequence[Incoming]) -> list[Outgoing]:
        with self._deciding:
            return self._submissions.decide(records)

    def start(self) -> None:
        """Start the threads, once all registered job types are known.

        Raises TopicError where the topics aren't as the settings have them, OSError where the broker can't be reached.
        """
        topics.check_ready(self._settings)
        generations.check(self._settings)
        self._watching = [
            self._thread("jobstream-gate-settings", lambda: self._queues.follow(self._stop.is_set)),
            self._thread("jobstream-gate-lag", lambda: self._lag.watch(self._stop)),
        ]
        try:
            self._persist(self._register)
        except BaseException:
            self.stop()
            raise
        self._working = [self._thread(loop.name, loop.run) for loop in self._loops]

    def stop(self) -> None:
        """Finish the batches in hand, commit, leave the groups; waits for each thread for 30 s at most."""
        for loop in self._loops:
            loop.stop()
        # the watchers go last: a batch in hand may still need a queue
        for thread in self._working:
            thread.join(_JOIN)
        self._stop.set()
        for thread in self._watching:
            thread.join(_JOIN)
        self._submissions.close()
        self._publisher.close()

    def _register(self) -> None:
        """Know what is registered, and register what this gate's own folder has and jobs.settings hasn't."""
        self._queues.catch_up()
        for job_type in self._own_types:
            self._queues.declare(job_type.queue)
            if self._job_types.document(job_type.id) != job_type.dump():
                publish(self._settings, job_type, self._publisher)
                log.info("job type registered", job_type=job_type.id)
        self._queues.catch_up()

    def _persist(self, register: Callable[[], None]) -> None:
        deadline = time.monotonic() + _START
        while True:
            try:
                return register()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("waiting for the registered job types", error=str(error))
                self._stop.wait(_PAUSE)

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException:
            log.exception("the gate can't go on", thread=threading.current_thread().name)
            self._died()


def _rate_of(settings: GateSettings, principal: str | None) -> float:
    if principal is None:
        return settings.unverified_rate
    return settings.rates.get(principal, settings.rates.get("*", 0.0))


def _types_of(folder: Path | None) -> list[JobType]:
    if folder is None:
        return []
    try:
        return files.load([folder])
    except (InvalidError, OSError) as error:
        raise CreatorsError(f"job types in {folder}: {error}") from error
