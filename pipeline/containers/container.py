"""A container of Docker's, or of an engine with its interface, that runs one command."""

import threading
import time
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from pipeline.containers.base import Running
from pipeline.containers.errors import ENGINE_FAILED, NOT_FOUND
from pipeline.containers.interruption import Interruption
from pipeline.containers.outcome import Exit
from pipeline.containers.pump import Pump
from pipeline.containers.spec import RunSpec
from pipeline.containers.tail import tail
from pipeline.containers.threads import in_thread
from pipeline.containers.watch import Watch

#: Seconds without output, after the container's end, before the rest is given up.
OUTPUT_PATIENCE = 15.0
#: Seconds that a daemon may be away (restarted) before the container counts as lost.
DAEMON_PATIENCE = 300.0
#: Seconds that a container's removal is tried for, where the daemon is away or restarted just then.
REMOVAL_PATIENCE = 60.0
#: What the container's first process says of a command that it can't execute.
_INIT_FAILED = b"[FATAL tini"


class RunningContainer(Running):
    """A started container; removed by `finish`."""

    def __init__(
        self,
        engine: str,
        container: Container,
        patient: docker.DockerClient,
        pump: Pump,
        spec: RunSpec,
        image_id: str,
        notes: list[str],
        interruption: Interruption,
        watch: Watch | None = None,
    ) -> None:
        """`engine` is its name for errors, `patient` a client whose requests may take as long as the container runs."""
        self._engine = engine
        self.image_id = image_id
        self._container = container
        self._patient = patient
        self._pump = pump
        self._spec = spec
        self._notes = notes
        self._interruption = interruption
        self._over = threading.Event()
        self.pid = watch.pid if watch is not None else self._find_pid()
        self._watch = watch or Watch.of(self.pid)

    async def wait(self) -> Exit:
        """See Running; a daemon that is away is waited for `DAEMON_PATIENCE` seconds, then the container is lost."""
        return await in_thread(self._wait)

    async def terminate(self) -> None:
        """See Running."""
        await in_thread(self._signal, "SIGTERM")

    async def kill(self) -> None:
        """See Running."""
        await in_thread(self._signal, "SIGKILL")

    async def finish(self) -> list[str]:
        """See Running."""
        self._over.set()
        return await in_thread(self._finish)

    def _find_pid(self) -> int:
        try:
            self._container.reload()
            return int(self._container.attrs["State"]["Pid"])
        except (DockerException, requests.RequestException, KeyError):
            return 0

    def _signal(self, name: str) -> None:
        self._interruption.signalled()
        try:
            self._container.kill(name)
        except APIError as error:
            # Gone or not running: it ended in the meantime.
            if error.status_code not in (404, 409):
                raise

    def _wait(self) -> Exit:
        interruption = self._interruption
        while True:
            try:
                if interruption.away:
                    self._container.reload()
                    interruption.found()
                self._patient.api.wait(str(self._container.id))
                self._container.reload()
                return self._exit(self._container.attrs["State"])
            except NotFound:
                return Exit(exit_code=ENGINE_FAILED, error="the container was removed while it ran")
            except (DockerException, requests.RequestException) as error:
                if interruption.lost():
                    self._notes.append(f"output may be cut: {self._engine} was away for a while")
                if interruption.away > DAEMON_PATIENCE or self._over.wait(1.0):
                    said = f"{self._engine} doesn't answer, the container is lost: {error}"
                    return Exit(exit_code=ENGINE_FAILED, error=said)

    def _exit(self, state: dict[str, Any]) -> Exit:
        code = int(state["ExitCode"])
        interrupted = self._interruption.of(state)
        reading = self._watch.end() if self._watch is not None else None
        self._drain()
        return Exit(
            exit_code=code,
            signal=code - 128 if 128 < code <= 128 + 64 else None,
            oom=bool(state.get("OOMKilled")) or (reading is not None and reading.oom_kills > 0),
            usage=reading.usage if reading is not None else None,
            error=state.get("Error") or self._init_error(code) or interrupted,
        )

    def _init_error(self, code: int) -> str | None:
        said = tail(self._spec.stderr, 512) if code in (NOT_FOUND - 1, NOT_FOUND) else b""
        if not said.startswith(_INIT_FAILED):
            return None
        return f"the container could not run the command: {said.decode(errors='replace').strip()}"

    def _drain(self) -> None:
        if not self._pump.join(OUTPUT_PATIENCE):
            self._notes.append(f"output may be cut: its end did not come within {OUTPUT_PATIENCE:.0f} s")

    def _finish(self) -> list[str]:
        if (error := remove(self._container)) is not None:
            self._notes.append(f"container {self._container.id} was not removed: {error}")
        if self._watch is not None:
            self._watch.end()
        self._drain()
        self._pump.close()
        return [*self._notes, *self._pump.notes]


def remove(container: Container) -> Exception | None:
    """Remove a container, by force; an engine that is away is waited for `REMOVAL_PATIENCE` seconds. Return why not."""
    deadline = time.monotonic() + REMOVAL_PATIENCE
    while True:
        try:
            container.remove(force=True, v=True)
            return None
        except NotFound:
            return None
        except (DockerException, requests.RequestException) as error:
            if time.monotonic() > deadline:
                return error
            time.sleep(1.0)
