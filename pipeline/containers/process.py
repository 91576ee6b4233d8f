"""The engine that runs a command as a plain process of this host.

It keeps a command's processes together and ends all of them that keep their environment or their group, but encloses
nothing: network, files and memory are the host's. For commands that are trusted, and for machines without a container
engine. As a user of their own they can neither signal the worker nor read its files and environment.
"""

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.containers.base import Engine, Orphan, Running
from pipeline.containers.errors import NOT_EXECUTABLE, NOT_FOUND, EngineError, UnavailableError
from pipeline.containers.outcome import Exit, Usage
from pipeline.containers.output import Outputs
from pipeline.containers.ownership import give, parse_user
from pipeline.containers.pipes import Pipes
from pipeline.containers.processes import TOKEN_VARIABLE, ProcessRecord, born, kill_all, records
from pipeline.containers.pump import Pump
from pipeline.containers.spec import RunSpec
from pipeline.containers.threads import in_thread
from pipeline.crash_points import here

#: What a command finds of the worker's environment, besides HOME, which is its working directory.
INHERITED = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
#: Seconds without output, and in all, that what was printed may take once no process of a run is left.
OUTPUT_PATIENCE, OUTPUT_LONGEST = 2.0, 30.0
#: Seconds that the end of the output is waited for until it is looked who holds it.
_LOOK = 0.02
#: Bytes of a block, as the kernel counts them for a process (getrusage(2)).
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a run's first process is started.

    `user` (uid, gid) is who it runs as, None: the worker itself; `owner` who may open its output's ends again.
    """

    argv: list[str]
    env: Mapping[str, str]
    user: tuple[int, int] | None = None
    owner: tuple[int, int] | None = None


class ProcessEngine(Engine):
    """Runs commands in a session of their own, with `/dev/null` as input and no core dumps.

    The environment is PATH, LANG, HOME and what the spec gives, plus one variable that marks the run's processes.
    `user` (of the spec, else of the engine) works only for a worker that is root; None is the worker's own.
    """

    name = "process"

    def __init__(self, state_dir: Path, user: str | None = None) -> None:
        """Keep the records of what runs in `state_dir`, which jobs must not be able to write to."""
        super().__init__()
        self._state_dir = state_dir
        self._user = user

    async def reap_orphans(self, worker: str, holder: str) -> list[Orphan]:
        """See Engine; a run whose processes could not be killed keeps its record and is not named."""
        return await in_thread(self._reap, worker, holder)

    def command_line(self, spec: RunSpec, withheld: Collection[str] = ()) -> list[str]:
        """Return the command itself."""
        return list(spec.argv)

    def environment(self, spec: RunSpec) -> dict[str, str]:
        """See Engine."""
        return environment(spec)

    async def _start(self, spec: RunSpec) -> Running:
        return await in_thread(self._launch, spec)

    def _launch(self, spec: RunSpec) -> "RunningProcess":
        labels = spec.labels
        record = ProcessRecord(
            token=uuid.uuid4().hex,
            job=labels.job,
            attempt=labels.attempt,
            holder=labels.holder,
            worker=labels.worker,
            working_dir=str(spec.working_dir),
        )
        try:
            launch = self._plan(spec, record.token)
        except Exception as error:
            raise self._as_engine_error(error, spec) from error
        try:
            record.write(self._state_dir)
        except OSError as error:
            raise UnavailableError(f"the run can't be recorded in {self._state_dir}: {error.strerror}") from error
        here("worker.run-recorded")
        try:
            process, pump = _spawn(spec, launch)
        except BaseException as error:
            record.remove(self._state_dir)
            raise self._as_engine_error(error, spec) from error
        here("worker.process-started")
        started = replace(record, pid=process.pid, born=born(process.pid))
        with contextlib.suppress(OSError):
            # The token alone still finds the run.
            started.write(self._state_dir)
        try:
            return self._running(process, started, pump, spec)
        except BaseException:
            if kill_all(started):
                process.wait()
                record.remove(self._state_dir)
            pump.close()
            raise

    def _running(
        self, process: subprocess.Popen[bytes], record: ProcessRecord, pump: Pump, spec: RunSpec
    ) -> "RunningProcess":
        return RunningProcess(process, record, self._state_dir, pump)

    def _plan(self, spec: RunSpec, token: str) -> Launch:
        """Return how to start a run, with its working directory given to its user; raises EngineError or OSError."""
        env = environment(spec) | {TOKEN_VARIABLE: token}
        user = spec.user or self._user
        if not user:
            return Launch(argv=list(spec.argv), env=env)
        uid, gid = parse_user(user)
        give(spec.working_dir, uid, gid)
        other = (uid, gid) if os.geteuid() == 0 else None
        return Launch(argv=list(spec.argv), env=env, user=other, owner=other)

    def _reap(self, worker: str, holder: str) -> list[Orphan]:
        found = []
        for record in records(self._state_dir):
            if record.worker == worker and record.holder != holder and self._end(record):
                record.remove(self._state_dir)
                found.append(Orphan(record.job, record.attempt, record.holder, Path(record.working_dir)))
        return found

    def _end(self, record: ProcessRecord) -> bool:
        return kill_all(record)

    def _as_engine_error(self, error: BaseException, spec: RunSpec) -> BaseException:
        return _as_engine_error(error, spec)


class RunningProcess(Running):
    """A process group; its leader is reaped only after the group was killed, so that its id can't be another's."""

    def __init__(self, process: subprocess.Popen[bytes], record: ProcessRecord, state_dir: Path, pump: Pump) -> None:
        self._pump = pump
        self.pid = process.pid
        self._process = process
        self._record = record
        self._state_dir = state_dir
        self._leader = process.pid
        self._reaped = False
        self._lock = threading.Lock()

    async def wait(self) -> Exit:
        """See Running; what is left of the process group is killed when its leader ends."""
        return await in_thread(self._wait)

    async def terminate(self) -> None:
        """See Running."""
        self._signal_group(signal.SIGTERM)

    async def kill(self) -> None:
        """See Running."""
        self._signal_group(signal.SIGKILL)

    async def finish(self) -> list[str]:
        """Kill what left the group too, and forget the run; a survivor keeps the record, for the next reaping."""
        self._signal_group(signal.SIGKILL)
        # Once the leader was reaped its pid may be another's: then only the token counts.
        record = replace(self._record, pid=0) if self._reaped else self._record
        return await in_thread(self._finish, record)

    def _finish(self, record: ProcessRecord) -> list[str]:
        notes = []
        if self._kill_all(record):
            self._record.remove(self._state_dir)
        else:
            notes.append("some of its processes did not end on SIGKILL")
        if not self._pump.join(OUTPUT_PATIENCE, OUTPUT_LONGEST):
            notes.append("output may be cut: a process that left the run still holds it")
        self._pump.close()
        return [*notes, *self._pump.notes]

    def _kill_all(self, record: ProcessRecord) -> bool:
        """Kill what is found, and look again for a while where somebody holds the output whom nobody found."""
        deadline = time.monotonic() + OUTPUT_PATIENCE
        while kill_all(record):
            if self._pump.has_ended(_LOOK) or time.monotonic() > deadline:
                return True
        return False

    def _wait(self) -> Exit:
        os.waitid(os.P_PID, self._leader, os.WEXITED | os.WNOWAIT)
        self._signal_group(signal.SIGKILL)
        with self._lock:
            _, status, used = os.wait4(self._leader, 0)
            self._reaped = True
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        disk = used.ru_inblock * _BLOCK, used.ru_oublock * _BLOCK
        usage = Usage(used.ru_utime, used.ru_stime, used.ru_maxrss * 1024, *disk)
        if code < 0:
            return Exit(exit_code=128 - code, signal=-code, usage=usage)
        return Exit(exit_code=code, usage=usage)

    def _signal_group(self, number: signal.Signals) -> None:
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if not self._reaped:
                os.killpg(self._leader, number)


def _spawn(spec: RunSpec, launch: Launch) -> tuple[subprocess.Popen[bytes], Pump]:
    outputs = Outputs(spec.stdout, spec.stderr, spec.output_limit, spec.observer, spec.mask)
    with contextlib.ExitStack() as undo:
        undo.callback(outputs.close)
        pipes = Pipes(launch.owner)
        undo.callback(pipes.close)
        process = subprocess.Popen(
            launch.argv,
            cwd=spec.working_dir,
            env=launch.env,
            stdin=subprocess.DEVNULL,
            stdout=pipes.writing["stdout"],
            stderr=pipes.writing["stderr"],
            start_new_session=True,
            umask=0o022,
            user=launch.user[0] if launch.user else None,
            group=launch.user[1] if launch.user else None,
            extra_groups=[] if launch.user else None,
        )
        undo.pop_all()
    pipes.close_writing()
    pump = Pump(outputs)
    pump.start(pipes.parts)
    with contextlib.suppress(OSError):
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    return process, pump


def environment(spec: RunSpec) -> dict[str, str]:
    """Return the environment of a run's command, without the variable that marks its processes."""
    inherited = {name: os.environ.get(name, default) for name, default in INHERITED.items()}
    return {**inherited, "HOME": str(spec.working_dir), **spec.env}


def _as_engine_error(error: BaseException, spec: RunSpec) -> BaseException:
    name = spec.argv[0] if spec.argv else ""
    match error:
        case EngineError():
            return error
        case FileNotFoundError() if str(error.filename) != str(name):
            return EngineError(f"no such file or directory: {error.filename}")
        case FileNotFoundError():
            return EngineError(f"command not found: {name}", NOT_FOUND)
        case ValueError() | IndexError():
            return EngineError(f"not a command: {error}", NOT_FOUND)
        case OSError():
            return EngineError(f"command can't be executed: {name}: {error.strerror}", NOT_EXECUTABLE)
    return error
