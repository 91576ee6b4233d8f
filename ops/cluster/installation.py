"""The installation: start, look at and stop everything that belongs to one home."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from ops.cluster.agent_process import AgentProcess
from ops.cluster.file import ClusterFile, Plan
from ops.cluster.priority import yield_to_others
from ops.cluster.process_status import ProcessStatus
from ops.cluster.readiness import Readiness
from ops.cluster.servers import Servers
from ops.cluster.steps import Tell, silence, step
from ops.embedded.filelock import file_lock
from pipeline.settings import Settings, TaskSettings, WorkerSettings

#: s that a stopping agent gets beyond the grace that it gives its jobs
STOP_MARGIN = 20.0
#: s that a killed process may take to be gone
_GONE_TIMEOUT = 10.0
#: s that another `up` or `down` of the same home is waited for
_LOCK_TIMEOUT = 300.0
_POLL = 0.2
#: The index may be late; a job must not wait because it is brought up to date.
_YIELDING = ("elasticsearch", "sink")
#: Agents that there may be several of, each with an id.
_WORKERS = ("worker", "task-worker")
#: The gate is a process of its own: the two largest consumers of time then have a core each.
_OPTIONS = {"orchestrator": ["--no-gate"]}


class ClusterError(Exception):
    """A start or a stop that failed; the message says what happened and what to do."""


class Cluster:
    """The installation in `settings.home`; start, stop and status work from any process that knows the home.

    `plan` says what it consists of: by default what the last `up` started, else what the settings ask for. Processes
    are named kafka, elasticsearch, gate, orchestrator, scheduler, worker-1 … worker-N, task-worker-1 … and sink, and
    outlive this object. As a context manager it is up inside and down after. Not for use by several threads at once.
    """

    def __init__(self, settings: Settings, plan: Plan | None = None, start_timeout: float = 90.0) -> None:
        self.home = settings.home.resolve()
        self.start_timeout = start_timeout
        self._given = settings
        file = ClusterFile.read(self.home)
        self.plan = plan or file.plan or Plan.of(settings)
        self._servers = Servers(self.home, settings, self.plan, file.ports)
        self._agents: dict[str, AgentProcess] = {}

    # -- life

    def up(self, progress: Tell = silence) -> None:
        """Have the servers, the topics and all agents of the plan running and ready; what runs already stays.

        Workers beyond the plan are stopped. Raises ClusterError or EmbeddedError where something doesn't come up in
        time; what was started stays, so that it can be looked at, and `up` can be called again.
        """
        with self._lock():
            self._up(progress)

    def mend(self, progress: Tell = silence) -> bool:
        """Like `up`, but nothing is started where `down` came in between; return whether it is still to be up."""
        with self._lock():
            wanted = ClusterFile.read(self.home).plan
            if wanted is None:
                return False
            self.plan = wanted
            self._up(progress)
            return True

    def _up(self, progress: Tell) -> None:
        with ThreadPoolExecutor(1, "elasticsearch") as pool:
            self._remember()
            # the slowest to start, and only the sink needs it
            search = pool.submit(self._servers.start, "elasticsearch", progress)
            self._servers.start("kafka", progress)
            self._remember()
            self._apply_topics(progress)
            self._stop_agents([name for name in self._known_agents() if name not in self.agent_names], progress, None)
            self._start_agents([name for name in self.agent_names if name != "sink"], progress)
            search.result()
            self._yield("elasticsearch")
            self._remember()
            self._start_agents([name for name in self.agent_names if name == "sink"], progress)

    def down(self, progress: Tell = silence, timeout: float | None = None) -> None:
        """Stop the workers, the other agents and the servers, in this order; running jobs get the worker's grace.

        Each is killed after `timeout` seconds (by default what its own stop may take). Data stays.
        """
        with self._lock():
            workers = [name for name in self._known_agents() if _kind(name) in _WORKERS]
            self._stop_agents(workers, progress, timeout)
            self._stop_agents([name for name in self._known_agents() if name not in workers], progress, timeout)
            for name in reversed(self._servers.names):
                self._servers.stop(name, progress, timeout)
            self._remember(plan=False)

    def start(self, name: str, progress: Tell = silence) -> None:
        """Have one process running and ready; raises like `up`, KeyError for a name that isn't of the plan."""
        if self._checked(name) in self._servers:
            self._servers.start(name, progress)
            self._yield(name)
            self._remember()
        else:
            self._start_agents([name], progress)

    def stop(self, name: str, timeout: float | None = None) -> bool:
        """Stop one process, by force after `timeout` seconds; return whether it ran."""
        if self._checked(name) in self._servers:
            return self._servers.stop(name, silence, timeout)
        return self.agent(name).stop(self._patience(name, timeout))

    def restart(self, name: str, progress: Tell = silence) -> None:
        """Stop one process gracefully and have it ready again."""
        self.stop(name)
        self.start(name, progress)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a process a signal; after SIGKILL it is gone when this returns. Raises ClusterError where none runs."""
        pid = self.pid(name)
        if pid is None:
            raise ClusterError(f"{name} does not run")
        psutil.Process(pid).send_signal(number)
        deadline = time.monotonic() + _GONE_TIMEOUT
        while number == signal.SIGKILL and self.pid(name) is not None:
            if time.monotonic() > deadline:
                raise ClusterError(f"{name} did not end after SIGKILL")
            time.sleep(_POLL / 10)

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.down(timeout=5.0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # -- what there is

    @property
    def settings(self) -> Settings:
        """The settings with the addresses of the servers that run here: what agents and clients need."""
        kafka, search = self._servers.endpoint("kafka"), self._servers.endpoint("elasticsearch")
        given = self._given
        return given.model_copy(
            update={
                "home": self.home,
                "kafka": given.kafka.model_copy(update={"bootstrap": kafka} if kafka else {}),
                "sink": given.sink.model_copy(update={"elasticsearch": search} if search else {}),
            }
        )

    @property
    def agent_names(self) -> list[str]:
        """The agents of the plan, in the order in which they start."""
        workers = [f"worker-{number}" for number in range(1, self.plan.workers + 1)]
        tasks = [f"task-worker-{number}" for number in range(1, self.plan.task_workers + 1)]
        return ["gate", "orchestrator", "scheduler", *workers, *tasks, *(["sink"] if self.plan.sink else [])]

    @property
    def names(self) -> list[str]:
        """Every process of the plan."""
        return [*self._servers.names, *self.agent_names]

    def agent(self, name: str) -> AgentProcess:
        """Return the process of an agent, whether it runs or not."""
        if name not in self._agents:
            kind = _kind(name)
            command = [kind, "--id", name] if kind in _WORKERS else [name]
            self._agents[name] = AgentProcess(self.home, name, command, _OPTIONS.get(name, ()))
        return self._agents[name]

    def pid(self, name: str) -> int | None:
        """Return the pid of a process, None where it doesn't run."""
        if name in self._servers:
            return self._servers[name].status().pid
        process = self.agent(name).find()
        return None if process is None else process.pid

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self._servers[name].log_file if name in self._servers else self.agent(name).log

    def processes(self) -> list[ProcessStatus]:
        """Look at every process of the plan, and at workers beyond it that run."""
        agents = [self.agent(name).status(_kind(name)) for name in self._known_agents()]
        planned = [self._servers.status(name) for name in self._servers.names]
        return planned + [agent for agent in agents if agent.running or agent.name in self.agent_names]

    # -- how

    def _apply_topics(self, progress: Tell) -> None:
        from agents.admin import apply

        with step(progress, "topics"):
            apply(self.settings)

    def _start_agents(self, names: Sequence[str], progress: Tell) -> None:
        """Start them all at once, then wait for each."""
        if not names:
            return
        settings = self.settings
        readiness = Readiness(settings)
        try:
            ran = {name for name in names if self.agent(name).find() is not None}
            waits = {name: self._launch(name, settings, readiness) for name in names}
            for name, ready in waits.items():
                with step(progress, name) as outcome:
                    self._await_ready(name, ready)
                    self._yield(name)
                    if name in ran:
                        outcome.kept(f"pid {self.pid(name)}")
                    else:
                        outcome.detail = f"pid {self.pid(name)}"
        finally:
            readiness.close()

    def _launch(self, name: str, settings: Settings, readiness: Readiness) -> Callable[[], bool]:
        """Start an agent unless it runs; return the question whether it is ready."""
        agent = self.agent(name)
        running = agent.find()
        since = int((running.create_time() if running else time.time()) * 1000)
        if _kind(name) == "worker":
            worker = settings.worker.model_copy(update={"engine": self.plan.engine, "id": name})
            settings = settings.model_copy(update={"worker": worker})
        question = readiness.of(_kind(name), name, since, runs=running is not None)
        agent.start(settings.environment())
        return question

    def _yield(self, name: str) -> None:
        pid = self.pid(name) if name in _YIELDING and name in self.names else None
        if pid is not None:
            yield_to_others(pid)

    def _await_ready(self, name: str, ready: Callable[[], bool]) -> None:
        agent = self.agent(name)
        deadline = time.monotonic() + self.start_timeout
        while not ready():
            late = time.monotonic() > deadline
            if late or agent.find() is None:
                what = f"was not ready within {self.start_timeout:.0f} s" if late else "ended while it started"
                tail = "".join(f"\n  | {line}" for line in agent.tail())
                raise ClusterError(f"{name} {what}; its log is {agent.log}{tail}")
            time.sleep(_POLL)

    def _stop_agents(self, names: Sequence[str], progress: Tell, timeout: float | None) -> None:
        """Stop them all at once."""
        running = [name for name in names if self.agent(name).find() is not None]
        with ThreadPoolExecutor(max(1, len(running))) as pool:
            list(pool.map(partial(self._stop_agent, progress=progress, timeout=timeout), running))

    def _stop_agent(self, name: str, progress: Tell, timeout: float | None) -> None:
        with step(progress, name, "stopping") as outcome:
            self.agent(name).stop(self._patience(name, timeout))
            outcome.detail = "stopped"

    def _patience(self, name: str, timeout: float | None) -> float:
        """Return how long an agent may take to stop (s)."""
        if timeout is not None:
            return timeout
        match _kind(name):
            case "worker":
                own: WorkerSettings | TaskSettings = self._given.worker
            case "task-worker":
                own = self._given.tasks
            case _:
                return STOP_MARGIN
        return STOP_MARGIN + own.grace + own.kill_grace

    def _known_agents(self) -> list[str]:
        """Return the agents of the plan, and the workers that left a pid file here."""
        left = sorted(path.stem for path in (self.home / "run").glob("*.pid"))
        return list(dict.fromkeys([*self.agent_names, *left]))

    def _checked(self, name: str) -> str:
        if name not in {*self.names, *self._known_agents()}:
            raise KeyError(f"{name}: not one of {', '.join(self.names)}")
        return name

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with file_lock(self.home / "cluster.lock", _LOCK_TIMEOUT, "starting or stopping this installation"):
            yield

    def _remember(self, *, plan: bool = True) -> None:
        """Write down the plan, and where the servers listen."""
        settings = self.settings
        file = ClusterFile(
            self.plan if plan else None,
            self._servers.ports(),
            {"bootstrap": settings.kafka.bootstrap},
            {"elasticsearch": settings.sink.elasticsearch},
            settings.topics.model_dump(),
        )
        file.write(self.home)


def _kind(name: str) -> str:
    return next((kind for kind in _WORKERS if name.startswith(f"{kind}-")), name)
