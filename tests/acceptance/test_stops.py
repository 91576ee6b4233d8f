"""The orchestrator stopped in mid-stream, and paused past its session: nothing is lost, nothing set back."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.cluster import AgentProcess, Plan
from ops.submitting import Submission
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, site_at
from tests.waiting import until

STOPS = 10
#: jobs that must complete between two stops
STEP = 10
#: jobs that may be on their way: more of them show nothing, and the end waits for each
AHEAD = 80

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    sections = {**QUICK_LEASES, "worker": {**QUICK_LEASES["worker"], "slots": 4}}
    with site_at(servers_home / "stops", Plan(workers=2, engine="noop", **NO_SEARCH), sections) as site:
        yield site


class Stream:
    """Submissions at a steady pace, from a thread of their own, until `stop`; `completed` counts their jobs."""

    def __init__(self, site: Site, name: str) -> None:
        self.sent: list[str] = []
        self._completed = 0
        self._site = site
        self._name = name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[str]:
        """Send no more; return the ids of all submissions that the broker has."""
        self._ended.set()
        self._thread.join(SOON)
        assert not self._thread.is_alive()
        return self.sent

    def completed(self) -> int:
        """How many jobs are completed."""
        history = self._site.facts
        jobs = [job for submission in list(self.sent) for job in history.submissions.get(submission, [])]
        self._completed = sum(history.statuses(job)[-1] == Status.COMPLETED for job in jobs)
        return self._completed

    def progress(self) -> None:
        """Wait until some more jobs are completed."""
        enough = self.completed() + STEP
        until(lambda: self.completed() >= enough, 2 * SOON, what=f"{enough} jobs of {self._name} are completed")

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            if len(self.sent) - self._completed > AHEAD:
                continue
            number = len(self.sent)
            submission = Submission("step", {"stream": self._name, "number": number}, f"{self._name}-{number}")
            self._site.submitter.send(submission).result(SOON)
            self.sent.append(submission.submission_id)


@contextmanager
def stream(site: Site, name: str) -> Iterator[Stream]:
    running = Stream(site, name)
    try:
        yield running
    finally:
        running.stop()


def nothing_was_lost_or_set_back(site: Site, sent: list[str]) -> None:
    jobs = [site.job_of(submission) for submission in sent]
    site.await_status(jobs, Status.COMPLETED, timeout=2 * SOON)
    assert {job: site.facts.statuses(job) for job in jobs if site.facts.course(job) != WHOLE} == {}
    assert len(set(jobs)) == len(sent)
    assert site.facts.contradictions == []


def test_ten_stops_of_the_orchestrator_in_mid_stream_lose_nothing(site: Site) -> None:
    with stream(site, "stopped") as running:
        for _ in range(STOPS):
            running.progress()
            agent = site.cluster.agent("orchestrator")
            site.process("orchestrator").send_signal(signal.SIGTERM)
            assert agent.wait(SOON), "it ends on SIGTERM"
            agent.start(site.settings.environment())
        running.progress()
    nothing_was_lost_or_set_back(site, running.stop())


def test_an_orchestrator_paused_past_its_session_gives_way_and_sets_nothing_back(site: Site) -> None:
    paused = site.process("orchestrator")
    home = site.home / "second"
    second = AgentProcess(home, "orchestrator", ["orchestrator", "--no-gate"])
    key = site.settings.key().decode()
    environment = {**site.settings.environment(), "JOBSTREAM_HOME": str(home), "JOBSTREAM_TOKEN_KEY": key}
    with stream(site, "paused") as running:
        running.progress()
        paused.send_signal(signal.SIGSTOP)
        try:
            second.start(environment)
            running.progress()
        finally:
            paused.send_signal(signal.SIGCONT)
        assert site.cluster.agent("orchestrator").wait(SOON), "the paused one ends itself"
        site.cluster.start("orchestrator")
        running.progress()
        assert second.stop(SOON)
        running.progress()
    nothing_was_lost_or_set_back(site, running.stop())
    # what is known of the jobs survived too: the same submissions again make no new ones
    again = [Submission("step", {"stream": "paused", "number": number}) for number in range(10)]
    for submission in again:
        site.submitter.send(submission).result(SOON)
    site.await_status([site.job_of(submission.submission_id) for submission in again], Status.DEDUPED)
