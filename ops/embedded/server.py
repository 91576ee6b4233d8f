"""What the embedded servers have in common: one folder, one process, loopback ports, a start that is really ready."""

import json
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

from ops.embedded import process
from ops.embedded.artifacts import of_server
from ops.embedded.errors import EmbeddedError
from ops.embedded.fetch import ArtifactStore, require_disk
from ops.embedded.filelock import file_lock
from ops.embedded.ports import free_port, is_free, require_free
from ops.embedded.progress import MIB, Reporter

#: what a JVM needs beside its heap, in MiB: classes, compiled code, threads, buffers
JVM_OVERHEAD_MIB = 200
#: seconds between two looks whether a starting server answers
_POLL = 0.1
#: starts that may lose a race for ports that were free when they were chosen
_PORT_RACES = 3
#: free disk that a server needs to start, in bytes
_START_DISK = 256 * MIB


@dataclass(frozen=True)
class Port:
    """A port of a server: what it is for, which was asked for, and the setting that changes it."""

    use: str
    wanted: int | None
    """None or 0: any free one."""
    setting: str


@dataclass(frozen=True)
class ServerStatus:
    """What is to be seen of a server now."""

    name: str
    running: bool
    """Its process lives."""
    ready: bool
    """It answers, and as itself."""
    endpoint: str | None
    """host:port or URL; None where it does not run."""
    pid: int | None
    memory_bytes: int
    uptime_s: float
    data: Path
    log: Path


class EmbeddedServer(ABC):
    """A server whose data lies in one folder; start, stop and status work from any process that knows the folder."""

    #: `kafka` or `elasticsearch`: the folder below home, and the artifacts' server
    name: ClassVar[str]

    def __init__(
        self, home: Path, ports: Mapping[str, Port], heap_mib: int, cache: Path | None, start_timeout: float
    ) -> None:
        self.home = home.expanduser().absolute()
        self.folder = self._place(self.home / self.name)
        self.store = ArtifactStore(cache)
        self.heap_mib = heap_mib
        self.start_timeout = start_timeout
        self._ports = dict(ports)
        self._child: subprocess.Popen[bytes] | None = None

    # -- what each server says of itself

    @property
    @abstractmethod
    def log_file(self) -> Path:
        """Where the server logs; bounded in size."""

    @abstractmethod
    def _install(self, tell: Reporter | None) -> None:
        """Have all files in place that do not depend on ports; downloads on the first call."""

    @abstractmethod
    def _launch(self, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
        """Write the configuration for these ports and start the process, in a session of its own."""

    @abstractmethod
    def _answers(self, ports: Mapping[str, int]) -> bool:
        """Say whether this very server (not another one on the same port) serves requests; never blocks for long."""

    @abstractmethod
    def _endpoint(self, ports: Mapping[str, int]) -> str:
        """Return what clients are configured with."""

    def _place(self, folder: Path) -> Path:
        """Return where the server's folder really is."""
        return folder

    # -- life

    def start(self, tell: Reporter | None = None) -> str:
        """Have the server running and ready; return its endpoint.

        A server that runs already is left alone. Raises EmbeddedError, with nothing left running, when a port is taken,
        memory or disk do not suffice, a download fails, the server dies or is not ready within `start_timeout` seconds.
        """
        with file_lock(self.home / f"{self.name}.lock", self.start_timeout + 30, f"starting {self.name}"):
            return self._adopt() or self._start(tell)

    def stop(self, timeout: float = 30.0) -> bool:
        """End the server, by force after `timeout` seconds; return whether one ran. Its data stays."""
        ended = process.end(self.folder, timeout)
        self._state_file.unlink(missing_ok=True)
        if self._child is not None:
            self._child.wait(timeout)
            self._child = None
        return ended > 0

    def wipe(self) -> None:
        """End the server and remove its data; the downloads stay."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_running(self) -> bool:
        """Say whether the server's process lives, whoever started it."""
        return bool(self._processes())

    @property
    def endpoint(self) -> str | None:
        """host:port or URL of the running server; None where it does not run."""
        ports = self._state().get("ports")
        return self._endpoint(ports) if ports and self.is_running() else None

    @property
    def ports(self) -> dict[str, int]:
        """The ports of the running server, by use; none where it does not run."""
        ports = self._state().get("ports")
        return dict(ports) if ports and self.is_running() else {}

    def status(self) -> ServerStatus:
        """Look at the server; asks it whether it is ready."""
        processes = self._processes()
        ports = self._state().get("ports") if processes else None
        return ServerStatus(
            name=self.name,
            running=bool(processes),
            ready=self._answers(ports) if ports else False,
            endpoint=self._endpoint(ports) if ports else None,
            pid=processes[-1].pid if processes else None,
            memory_bytes=process.resident_bytes(processes),
            uptime_s=process.uptime(processes),
            data=self.folder,
            log=self.log_file,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- how

    @property
    def _state_file(self) -> Path:
        """Says which process serves this folder on which ports."""
        return self.folder / "process.json"

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads(self._state_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _remember(self, pid: int, ports: Mapping[str, int]) -> None:
        fresh = self._state_file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"pid": pid, "ports": dict(ports)}))
        fresh.replace(self._state_file)

    def _processes(self) -> list[psutil.Process]:
        """Return the server's processes; where the pid file is stale or missing, those with its mark."""
        pid = self._state().get("pid")
        recorded = process.marked(pid, self.folder) if isinstance(pid, int) else None
        return [recorded] if recorded else process.find(self.folder)

    def _adopt(self) -> str | None:
        """Return the endpoint of a server that runs already, once it is ready; None where none runs."""
        ports: dict[str, int] | None = self._state().get("ports")
        if not self.is_running():
            return None
        if ports is None:
            # whoever started it died before it could write down where
            process.end(self.folder, timeout=10)
            return None
        for name, port in self._ports.items():
            if port.wanted and port.wanted != ports.get(name):
                raise EmbeddedError(
                    f"{self.name} runs already with its {port.use} port at {ports.get(name)}, not {port.wanted}: "
                    f"stop it first, or leave {port.setting} alone"
                )
        self._await_ready(ports)
        return self._endpoint(ports)

    def _start(self, tell: Reporter | None) -> str:
        self._require_ports()
        self._require_memory()
        require_disk(self.folder, _START_DISK, f"starting {self.name}")
        self._install(tell)
        for race in range(_PORT_RACES):
            ports = self._choose_ports()
            try:
                self._run(ports)
            except EmbeddedError as failed:
                # whoever took the port may have left it again: the server's own words count too
                lost = not all(is_free(port) for port in ports.values()) or "Address already in use" in str(failed)
                if not (lost and race + 1 < _PORT_RACES and all(not one.wanted for one in self._ports.values())):
                    raise
            else:
                break
        return self._endpoint(ports)

    def _run(self, ports: Mapping[str, int]) -> None:
        """Start the process and wait until it is ready; whatever goes wrong, Ctrl-C included, ends it again."""
        try:
            self._child = self._launch(ports)
            self._remember(self._child.pid, ports)
            self._await_ready(ports)
            # a launcher may have been the first process and end now
            self._remember(process.find(self.folder)[-1].pid, ports)
        except BaseException:
            self.stop(timeout=5)
            raise

    def _await_ready(self, ports: Mapping[str, int]) -> None:
        deadline = time.monotonic() + self.start_timeout
        while not self._answers(ports):
            self._require_alive()
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{self.name} was not ready within {self.start_timeout:.0f} s; its log is {self.log_file}"
                    f"{self._log_tail()}"
                )
            time.sleep(_POLL)
        self._require_alive()

    def _require_alive(self) -> None:
        if self.is_running():
            return
        # asked after the look, not before: a process may end between the two
        code = self._child.poll() if self._child else None
        if self._child is not None and code is None:
            # just begun or about to end: for a moment a process shows no command line
            return
        # an archive's launcher ends well once its server is up: only a missing server counts
        killed = " (killed: was there too little memory?)" if code in (-9, 137) else ""
        raise EmbeddedError(
            f"{self.name} ended while it started, exit code {code}{killed}; its log is {self.log_file}"
            f"{self._log_tail()}"
        )

    def _log_tail(self, lines: int = 20) -> str:
        """Return the ends of the log and of what the process printed, for an error message."""
        tails = []
        for path in (self._output_file, self.log_file):
            try:
                text = path.read_text(errors="replace")
            except OSError:
                continue
            tails += text.splitlines()[-lines:]
        return "".join(f"\n  | {line}" for line in tails)

    @property
    def _output_file(self) -> Path:
        """What the process prints beside its log: the JVM's own errors."""
        return self.folder / f"{self.name}.out"

    def _choose_ports(self) -> dict[str, int]:
        chosen: dict[str, int] = {}
        for name, port in self._ports.items():
            chosen[name] = port.wanted or free_port(set(chosen.values()))
        return chosen

    def _require_ports(self) -> None:
        for port in self._ports.values():
            if port.wanted:
                require_free(port.wanted, port.use, port.setting)

    def _require_memory(self) -> None:
        needed = self.heap_mib + JVM_OVERHEAD_MIB
        available = psutil.virtual_memory().available // MIB
        if available < needed:
            raise EmbeddedError(
                f"not enough memory for {self.name}: {available} MiB are available, {needed} MiB are needed; "
                f"free some, or lower JOBSTREAM_EMBEDDED__{self.name.upper()}_HEAP_MIB ({self.heap_mib})"
            )

    def _artifacts(self, tell: Reporter | None) -> list[Path]:
        return self.store.ensure(of_server(self.name), self.name, tell)
