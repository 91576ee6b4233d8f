"""The scheduler's one loop: read what is there, match once, send; nothing in it waits for an answer."""

import secrets
import time
from collections.abc import Callable

import structlog

from agents.bus import Publisher
from agents.registry import codec
from agents.scheduler.clock import LogClock
from agents.scheduler.election import Election
from agents.scheduler.feed import Feed
from agents.scheduler.sending import Sender
from agents.scheduler.views import ViewWriter
from pipeline.crash_points import here
from pipeline.messages.inbox import Claim
from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.message import BecameLeader, LostLeadership, Message, Now, Output
from pipeline.scheduling.rules import Rules
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: Seconds that a turn waits where nothing is to be read.
_WAIT = 0.05
#: Seconds that the end waits for what is on its way.
_CLOSE_TIMEOUT = 5.0


class Agent:
    """One scheduler process, leading or standing by."""

    def __init__(self, settings: Settings) -> None:
        topology = settings.topology
        coder = codec(settings)
        self._settings = settings.scheduler
        self._clock = LogClock()
        self._feed = Feed(settings, coder, self._clock)
        self._publisher = Publisher(settings, topology.name("jobstream-scheduler"))
        self._sender = Sender(topology, coder, self._publisher)
        self._views = ViewWriter(topology.view, self._publisher)
        self._scheduler = Scheduler(secrets.token_hex(6), rules(settings), topology.job_partition)
        self._election = Election(settings)
        self._last_turn = time.monotonic()
        self._view_due = 0.0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Take turns until `stopped`. Raises what a new process may cure: see `main`."""
        while not stopped():
            self.turn()

    def turn(self) -> None:
        """Read, match, send."""
        read = self._feed.poll(_WAIT)
        self._election.poll()
        self._mind_the_gap()
        now = self._clock.now()
        if now is None:
            return
        if read:
            here("scheduler.read")
        self._send(self._scheduler.apply(Now(now), *read, *self._leadership()))
        self._sender.check()
        if self._scheduler.leads and time.monotonic() >= self._view_due:
            self._view_due = time.monotonic() + self._settings.view_ms / 1000
            self._views.write(self._scheduler)

    def close(self) -> None:
        """Let a standby lead at once, and deliver what is on its way."""
        self._election.close()
        self._feed.close()
        left = self._publisher.close(_CLOSE_TIMEOUT)
        if left:
            log.warning("records were not delivered", count=left)

    def _leadership(self) -> list[Message]:
        """Return the change of the lead since the last turn; a lead begins when the logs' ends are known."""
        if self._election.leads == self._scheduler.leads:
            return []
        if not self._election.leads:
            log.info("lost the lead")
            return [LostLeadership()]
        try:
            after = self._feed.ask_ends()
        except OSError as error:
            log.warning("can't lead yet", error=str(error))
            return []
        here("scheduler.elected")
        self._views.forget()
        log.info("leads", status_offset=after)
        return [BecameLeader(after)]

    def _mind_the_gap(self) -> None:
        """Give the lead up after standing still for long: another may have it, and what was read is old."""
        gap = time.monotonic() - self._last_turn
        self._last_turn = time.monotonic()
        if self._election.leads and gap * 1000 > self._settings.session_ms / 2:
            log.warning("stood still, gives up the lead", seconds=round(gap, 1))
            self._election.stand_again()

    def _send(self, outputs: list[Output]) -> None:
        if outputs:
            here("scheduler.matched")
        for output in outputs:
            if isinstance(output, Claim):
                self._sender.claim(output)
            elif self._feed.reachable:
                # while no broker answers no worker can, which is no reason to give a job up
                self._sender.expire(output)


def rules(settings: Settings) -> Rules:
    """Return the rules that the settings ask for."""
    own = settings.scheduler
    return Rules(
        silence_ms=own.silence_ms,
        claim_retry_ms=own.claim_retry_ms,
        slow_partition_ms=own.slow_partition_ms,
        priority_step_ms=own.priority_step_ms,
        rest_max_ms=own.rest_max_ms,
    )
