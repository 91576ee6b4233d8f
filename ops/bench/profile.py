"""Where an orchestrator's time goes: py-spy on the running process, and a table of the result."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

#: Frames below which the table looks no deeper: what is ours, or a library's entrance.
_SHOWN = 15


class Profile:
    """Samples a process for some seconds in the background; py-spy needs the right to trace it."""

    def __init__(self, pid: int, seconds: int, raw: Path) -> None:
        self.raw = raw
        command = [
            str(Path(sys.executable).with_name("py-spy")),
            "record",
            "-p",
            str(pid),
            "-d",
            str(seconds),
            "-r",
            "200",
            "-f",
            "raw",
            "-o",
            str(raw),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._patience = seconds + 30

    def lines(self) -> list[str]:
        """Wait for its end; return the functions in which most samples lie, or why there is no profile."""
        _, error = self._process.communicate(timeout=self._patience)
        if self._process.returncode != 0 or not self.raw.exists():
            return [f"no profile: {error.decode(errors='replace').strip()[-200:]}"]
        return _table(self.raw.read_text())


def _table(raw: str) -> list[str]:
    """Return the share of samples in each of our functions (and what they call), and in bare library code."""
    inclusive: Counter[str] = Counter()
    own: Counter[str] = Counter()
    total = 0
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rsplit(":", 1)[0] for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in {one for one in frames if "(agents/" in one or "(pipeline/" in one}:
            inclusive[frame] += int(count)
    if not total:
        return ["no profile: the process was idle"]
    rows = ["share  with what it calls"]
    rows += [f"{count / total:5.0%}  {frame}" for frame, count in inclusive.most_common(_SHOWN)]
    rows += ["share  by itself"]
    rows += [f"{count / total:5.0%}  {frame}" for frame, count in own.most_common(_SHOWN)]
    return rows
