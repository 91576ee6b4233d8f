"""What an installation takes of its machine: memory after a thousand jobs, time when idle, ports."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.cluster import Plan
from pipeline.statuses import Status
from tests.acceptance.support import SOON, Site, site_at
from tests.waiting import until

JOBS = 1000
MEMORY_LIMIT = 160 << 20
IDLE_LIMIT = 0.03
WINDOW = 20.0
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    with site_at(servers_home / "footprint", Plan(workers=1, engine="noop"), {"worker": {"slots": 16}}) as site:
        jobs = site.submit(*[{} for _ in range(JOBS)])
        site.await_status(jobs, Status.COMPLETED, timeout=300)
        yield site


def test_each_agent_stays_small_after_a_thousand_jobs(site: Site) -> None:
    memory = {name: site.process(name).memory_info().rss for name in site.cluster.agent_names}
    assert {name: size >> 20 for name, size in memory.items() if size > MEMORY_LIMIT} == {}


def test_each_agent_idles_at_little_of_a_core(site: Site) -> None:
    # the sink may still be writing, and everybody's clients wind down: quiet comes within the time-out or not at all
    until(lambda: _busy(site) == {}, 4 * SOON, what=f"shares of a core above {IDLE_LIMIT} over {WINDOW:.0f} s")


def _busy(site: Site) -> dict[str, float]:
    """Return the agents above the limit, with their share of a core over a window."""
    processes = {name: site.process(name) for name in site.cluster.agent_names}
    before = {name: _spent(process) for name, process in processes.items()}
    psutil.wait_procs(list(processes.values()), timeout=WINDOW)
    shares = {name: (_spent(process) - before[name]) / WINDOW for name, process in processes.items()}
    return {name: round(share, 3) for name, share in shares.items() if share > IDLE_LIMIT}


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_no_port_is_open_beyond_loopback(site: Site) -> None:
    pids = {site.cluster.pid(name) for name in site.cluster.names}
    listening = [
        (one.pid, one.laddr)
        for one in psutil.net_connections("inet")
        if one.pid in pids and one.status == psutil.CONN_LISTEN
    ]
    assert listening, "the servers listen"
    assert [one for one in listening if one[1].ip not in LOOPBACK] == []
