"""The control groups that an engine made for a run, as counters: what the run has used, and whether memory killed.

Versions 1 (with a folder for each controller) and 2 of the kernel's interface; a file that isn't there counts as 0.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.containers.outcome import Usage

ROOT = Path("/sys/fs/cgroup")
_READ, _WRITTEN = re.compile(r"^read_bytes: (\d+)", re.MULTILINE), re.compile(r"^write_bytes: (\d+)", re.MULTILINE)
#: Bytes of one file of counters that are read.
_SIZE = 1 << 14


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment; they only grow."""

    usage: Usage
    oom_kills: int

    def or_disk(self, read: int, written: int) -> "Reading":
        """Return the reading with these bytes where the groups' own count is lower: version 1 hardly counts any."""
        usage = self.usage
        most = max(read, usage.read_bytes), max(written, usage.written_bytes)
        return Reading(Usage(usage.user_cpu_s, usage.system_cpu_s, usage.max_memory, *most), self.oom_kills)


class Counters:
    """Open files of one run's control groups: they are read at one go, and fail once the groups are removed."""

    def __init__(self, files: Mapping[str, Path], read: Callable[[Mapping[str, str]], Reading]) -> None:
        """Open what is there; raises OSError if that is nothing."""
        self._read = read
        self._files: dict[str, int] = {}
        self._procs = files["peak"].with_name("cgroup.procs")
        for name, path in files.items():
            with suppress(OSError):
                self._files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not self._files:
            raise FileNotFoundError(f"no counters at {next(iter(files.values()), ROOT)}")

    @classmethod
    def of(cls, pid: int) -> "Counters | None":
        """Open those of the groups that a process is in; None if it is gone, or in groups of this process's own."""
        theirs, own = _groups(pid), _groups(os.getpid())
        try:
            if (path := theirs.get("memory")) and path != own.get("memory"):
                return cls(_version_1(theirs), _reading_1)
            if (path := theirs.get("")) and path != own.get("") and (ROOT / "cgroup.controllers").exists():
                return cls(_version_2(path), _reading_2)
        except OSError:
            return None
        return None

    def read(self) -> Reading:
        """Return the counters now; raises OSError once the groups are gone."""
        texts = {name: os.pread(file, _SIZE, 0).decode() for name, file in self._files.items()}
        return self._read(texts)

    def pids(self) -> list[int]:
        """Return the processes in the groups; raises OSError once those are gone."""
        # Version 1 shows an open file's first reader what there was then, and all later ones the same.
        return list(map(int, self._procs.read_text().split()))

    def close(self) -> None:
        """Close the files; more calls do nothing."""
        while self._files:
            os.close(self._files.popitem()[1])


def disk_io(pids: Iterable[int]) -> tuple[int, int]:
    """Return the bytes that processes had read from and written to disks, with those of children that ended."""
    read = written = 0
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/io").read_text()
            read += int(found[1]) if (found := _READ.search(text)) else 0
            written += int(found[1]) if (found := _WRITTEN.search(text)) else 0
    return read, written


def groups_of(pid: int) -> list[Path]:
    """Return the folders of a process's control groups that aren't this process's too; none if it is gone."""
    theirs, own = _groups(pid), _groups(os.getpid())
    found = [
        ROOT / folder / path.lstrip("/")
        for name, path in theirs.items()
        if path not in ("/", own.get(name))
        # Version 2's hierarchy has a folder of its own beside those of version 1.
        for folder in ((name,) if name else ("", "unified"))
    ]
    return [folder for folder in found if folder.is_dir()]


def _groups(pid: int) -> dict[str, str]:
    """Return the path in each hierarchy by controller; version 2's has no name (proc(5), cgroups(7))."""
    found = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.removeprefix("name=").split(","), path))
    return found


def _version_1(groups: Mapping[str, str]) -> dict[str, Path]:
    def at(controller: str, file: str) -> Path:
        return ROOT / controller / groups.get(controller, "/none").lstrip("/") / file

    return {
        "peak": at("memory", "memory.max_usage_in_bytes"),
        "oom": at("memory", "memory.oom_control"),
        "user": at("cpuacct", "cpuacct.usage_user"),
        "system": at("cpuacct", "cpuacct.usage_sys"),
        "io": at("blkio", "blkio.throttle.io_service_bytes"),
    }


def _reading_1(texts: Mapping[str, str]) -> Reading:
    io = texts.get("io", "")
    usage = Usage(
        user_cpu_s=_number(texts.get("user", "")) / 1e9,
        system_cpu_s=_number(texts.get("system", "")) / 1e9,
        max_memory=_number(texts.get("peak", "")),
        read_bytes=sum(map(int, re.findall(r" Read (\d+)", io))),
        written_bytes=sum(map(int, re.findall(r" Write (\d+)", io))),
    )
    return Reading(usage, _named(texts.get("oom", ""), "oom_kill"))


def _version_2(path: str) -> dict[str, Path]:
    folder = ROOT / path.lstrip("/")
    names = {"peak": "memory.peak", "oom": "memory.events", "cpu": "cpu.stat", "io": "io.stat"}
    return {name: folder / file for name, file in names.items()}


def _reading_2(texts: Mapping[str, str]) -> Reading:
    cpu, io = texts.get("cpu", ""), texts.get("io", "")
    usage = Usage(
        user_cpu_s=_named(cpu, "user_usec") / 1e6,
        system_cpu_s=_named(cpu, "system_usec") / 1e6,
        max_memory=_number(texts.get("peak", "")),
        read_bytes=sum(map(int, re.findall(r"rbytes=(\d+)", io))),
        written_bytes=sum(map(int, re.findall(r"wbytes=(\d+)", io))),
    )
    return Reading(usage, _named(texts.get("oom", ""), "oom_kill"))


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _named(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0
