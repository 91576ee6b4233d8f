"""An installation's agents as processes, against a real broker: what `up`, `status` and `down` do."""

import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psutil
import pytest
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from ops.cluster import Cluster, ClusterError, Keeper, Plan, Step, StepState
from ops.cluster.keeper import Patience
from ops.cluster.steps import silence
from pipeline.settings import (
    GateSettings,
    KafkaSettings,
    LedgerSettings,
    SchedulerSettings,
    Settings,
    TopicSettings,
    WorkerSettings,
)
from tests.waiting import until

AGENTS = ["gate", "orchestrator", "scheduler", "worker-1"]


@pytest.fixture(scope="module")
def cluster(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        kafka=KafkaSettings(bootstrap=kafka),
        topics=TopicSettings(prefix=f"cluster-{uuid.uuid4().hex[:6]}.", inbox_partitions=2, submit_partitions=2),
        gate=GateSettings(session_ms=6000),
        ledger=LedgerSettings(session_ms=6000, store="memory"),
        scheduler=SchedulerSettings(session_ms=6000),
        worker=WorkerSettings(slots=2, grace=1, status_ms=500),
    )
    plan = Plan(kafka=False, elasticsearch=False, sink=False, workers=1, engine="noop")
    with Cluster(settings, plan, start_timeout=180) as made:
        yield made
    assert not [one.name for one in made.processes() if one.running]


def up(cluster: Cluster) -> dict[str, StepState]:
    """Bring it up, and return how each step ended."""
    ended: dict[str, StepState] = {}

    def tell(step: Step) -> None:
        ended[step.name] = step.state

    cluster.up(tell)
    return ended


def cli(cluster: Cluster, *words: str) -> int:
    return CliRunner().invoke(app, list(words), env=cluster.settings.environment()).exit_code


def test_a_job_runs_through_everything_that_up_started(cluster: Cluster) -> None:
    assert cli(cluster, "status") == exits.OK
    assert cli(cluster, "submit", "sum", "-p", "a=1", "--wait", "--timeout", "60") == exits.OK


def test_a_second_up_starts_only_what_is_missing(cluster: Cluster) -> None:
    before = {name: cluster.pid(name) for name in AGENTS}
    cluster.kill("scheduler")
    assert cli(cluster, "status") == exits.FAILED
    again = up(Cluster(cluster.settings))
    assert {name for name, state in again.items() if state is StepState.KEPT} == {*AGENTS} - {"scheduler"}
    assert again["scheduler"] is StepState.DONE
    after = {name: cluster.pid(name) for name in AGENTS}
    assert {name for name in AGENTS if before[name] != after[name]} == {"scheduler"}


def test_an_agent_that_was_killed_is_ready_when_its_start_returns(cluster: Cluster) -> None:
    old = cluster.pid("orchestrator")
    cluster.kill("orchestrator", signal.SIGKILL)
    assert cluster.pid("orchestrator") is None
    cluster.start("orchestrator")
    assert cluster.pid("orchestrator") not in (None, old)
    assert cli(cluster, "submit", "sum", "-p", "a=2", "--wait", "--timeout", "60") == exits.OK


def test_workers_beyond_the_plan_are_stopped(cluster: Cluster) -> None:
    more = Cluster(cluster.settings, Plan(False, False, False, 2, "noop"), start_timeout=180)
    up(more)
    pid = more.pid("worker-2")
    assert pid is not None and psutil.pid_exists(pid)
    up(Cluster(cluster.settings, cluster.plan, start_timeout=180))
    assert cluster.pid("worker-2") is None
    assert [one.name for one in cluster.processes()] == AGENTS


def test_an_agent_that_does_not_come_up_is_told_with_the_end_of_its_log(cluster: Cluster) -> None:
    broken = cluster.settings.model_copy(
        update={"worker": cluster.settings.worker.model_copy(update={"heartbeat_ms": 10**6})}
    )
    more = Cluster(broken, Plan(False, False, False, 2, "noop"), start_timeout=180)
    with pytest.raises(ClusterError, match=r"(?s)worker-2 ended while it started.*shorter than"):
        more.up()


def test_a_keeper_starts_again_what_was_killed_and_ends_with_the_installation(cluster: Cluster) -> None:
    up(Cluster(cluster.settings, cluster.plan, start_timeout=180))
    told: list[Step] = []
    stop = Event()
    keeper = Keeper(Cluster(cluster.settings, start_timeout=180), told.append, Patience(shortest=0.01), look=0.1)
    before = {name: cluster.pid(name) for name in AGENTS}
    with ThreadPoolExecutor(1) as pool:
        keeping = pool.submit(keeper.run, stop)
        try:
            for name in ("scheduler", "worker-1"):
                cluster.kill(name)
            until(lambda: cli(cluster, "status") == exits.OK, 60, what=lambda: told)
            assert {name for name in AGENTS if before[name] != cluster.pid(name)} == {"scheduler", "worker-1"}
            cluster.down()
            assert keeping.result(60) is False
        finally:
            stop.set()
    assert {step.name for step in told if step.state is StepState.DONE} >= {"scheduler", "worker-1"}
    assert not [one.name for one in cluster.processes() if one.running]


def test_a_keeper_that_is_told_to_stop_stops(cluster: Cluster) -> None:
    stop = Event()
    stop.set()
    assert Keeper(Cluster(cluster.settings), silence).run(stop)
