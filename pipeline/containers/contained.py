"""A container of Apptainer's that runs one command: a process, whose child is the first of a PID namespace.

That first process runs as the command's user and ends with the command, and all of the namespace with it; the one
outside of it, which was started, then ends with the same exit code.
"""

import errno
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.containers.cgroups import ROOT, groups_of
from pipeline.containers.errors import ENGINE_FAILED, NOT_EXECUTABLE, NOT_FOUND
from pipeline.containers.namespaces import first_of
from pipeline.containers.outcome import Exit
from pipeline.containers.process import OUTPUT_LONGEST, OUTPUT_PATIENCE, RunningProcess
from pipeline.containers.processes import ProcessRecord
from pipeline.containers.pump import Pump
from pipeline.containers.spec import RunSpec
from pipeline.containers.tail import tail
from pipeline.containers.threads import in_thread
from pipeline.containers.watch import Watch

#: What Apptainer, and what prepares a place for it, ends with when it fails itself.
FAILED = 255
#: What it says then, on the command's standard error.
SAID = re.compile(rb"^FATAL: +(.+?)\s*\Z", re.MULTILINE)
#: Seconds that a container may take to begin, and its command after that; and between two looks.
_PATIENCE, _LOOK = 60.0, 0.005
#: Seconds that what was killed may take to be gone from its control group.
_DYING = 2.0


class ContainedProcess(RunningProcess):
    """The process outside, and what is known of the one inside; `pid` is the inner one's once there is one."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        record: ProcessRecord,
        state_dir: Path,
        pump: Pump,
        spec: RunSpec,
        image_id: str,
        notes: Iterable[str] = (),
    ) -> None:
        """Wait until the container and its command have begun, or ended."""
        super().__init__(process, record, state_dir, pump)
        self.image_id = image_id
        self._spec = spec
        self._notes = list(notes)
        self._inner: int | None = None
        self._groups: list[Path] = []
        self._watch: Watch | None = None
        #: Whether the command's own process was seen.
        self._ran = False
        #: Whether the last look at the counters was taken.
        self._over = False
        self._wait_until(self._has_begun)
        if self._watch is None:
            return
        self._wait_until(lambda: bool(self._inside()))
        self._hold()

    async def terminate(self) -> None:
        """Send SIGTERM, once, to the command and its process group, as soon as there is one."""
        await in_thread(self._terminate)

    async def kill(self) -> None:
        """Send SIGKILL to all in the container, and let the process outside tidy up; the second time to that too."""
        inner, self._inner = self._inner, None
        if inner is None:
            self._signal_group(signal.SIGKILL)
            return
        with suppress(OSError):
            signal.pidfd_send_signal(inner, signal.SIGKILL)
        os.close(inner)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition() and not self._is_over() and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def _has_begun(self) -> bool:
        first = first_of(self._leader)
        if not first or (watch := Watch.of(first, self._let_go)) is None:
            return False
        self._watch, self._groups, self.pid = watch, groups_of(first), first
        with suppress(OSError):
            self._inner = os.pidfd_open(first)
        return True

    def _inside(self) -> list[int]:
        """Return the processes in the container, but for its first; none until its command is there.

        Apptainer makes the container by another process, which is in its namespace but not in its control groups.
        """
        with suppress(OSError, IndexError):
            return [pid for pid in map(int, (self._groups[0] / "cgroup.procs").read_text().split()) if pid != self.pid]
        return []

    def _hold(self) -> None:
        """Have the process outside wait until the last counters were read: it removes them as soon as it can."""
        if self._watch is None or not self._inside():
            return
        self._ran = True
        with self._lock:
            # once let go it would be stopped for good
            if not self._over:
                os.kill(self._leader, signal.SIGSTOP)

    def _let_go(self) -> None:
        with self._lock, suppress(ProcessLookupError):
            self._over = True
            if not self._reaped:
                os.kill(self._leader, signal.SIGCONT)

    def _is_over(self) -> bool:
        return os.waitid(os.P_PID, self._leader, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _terminate(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self._reaped and time.monotonic() < deadline:
            # The first process of the container would drop it, and pass it on a second time later.
            if found := self._inside():
                for pid in found:
                    with suppress(ProcessLookupError, PermissionError):
                        if os.getpgid(pid) == self._leader:
                            os.kill(pid, signal.SIGTERM)
                return
            time.sleep(_LOOK)

    def _wait(self) -> Exit:
        exit_ = super()._wait()
        reading = self._watch.end() if self._watch is not None else None
        if reading is not None:
            exit_ = replace(exit_, usage=reading.usage, oom=reading.oom_kills > 0)
        if 128 < exit_.exit_code <= 128 + 64:
            return replace(exit_, signal=exit_.exit_code - 128)
        return self._explained(exit_) if exit_.exit_code == FAILED else exit_

    def _explained(self, exit_: Exit) -> Exit:
        """Tell Apptainer's own failure from a command that ended with the same exit code."""
        self._pump.join(OUTPUT_PATIENCE, OUTPUT_LONGEST)
        said = SAID.search(tail(self._spec.stderr, 4096))
        if said is None:
            return exit_
        text = said[1].decode(errors="replace")
        if self._ran and not text.startswith("exec "):
            return exit_
        code = _code(text) if self._watch is not None else ENGINE_FAILED
        bad_command = f"the container could not run the command {self._spec.argv[0]}"
        what = bad_command if code != ENGINE_FAILED else "Apptainer doesn't work"
        return replace(exit_, exit_code=code, error=f"{what}: {text}")

    def _finish(self, record: ProcessRecord) -> list[str]:
        notes = super()._finish(record)
        if self._watch is not None:
            self._watch.end()
        if self._inner is not None:
            os.close(self._inner)
            self._inner = None
        remove_groups(self._groups)
        return [*self._notes, *notes]


def groups_called(pid: int) -> list[Path]:
    """Return the control groups that Apptainer made for a container with this first process, which may have ended."""
    return [*ROOT.glob(f"*/apptainer/{pid}"), *ROOT.glob(f"apptainer/{pid}")]


def remove_groups(groups: Iterable[Path]) -> None:
    """Remove control groups that nothing is in any more, which Apptainer leaves where it was killed.

    What was killed is in its group until it has died: that is waited for, `_DYING` seconds for all.
    """
    deadline = time.monotonic() + _DYING
    for group in groups:
        with suppress(OSError):
            while not _is_removed(group) and time.monotonic() < deadline:
                time.sleep(_LOOK)


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _code(text: str) -> int:
    if "not found in $PATH" in text or (text.startswith("stat ") and "no such file or directory" in text):
        return NOT_FOUND
    if text in ("permission denied", "is a directory") or text.startswith(("exec ", "image targets ")):
        return NOT_EXECUTABLE
    return ENGINE_FAILED
