"""Task functions as an operator may write them; tests list them by their dotted names."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def where(task: dict[str, Any]) -> dict[str, Any]:
    """Return what it was told, and what it finds around it."""
    Path("left").write_text("something")
    return {"task": task, "cwd": str(Path.cwd()), "environment": dict(os.environ), "here": _names()}


def _names() -> list[str]:
    return [path.name for path in Path().iterdir()]


def mark(folder: str, name: str, seconds: float = 0.0) -> None:
    """Leave a line when it begins and one when it ends."""
    note(folder, f"begin {name} {os.environ['JOBSTREAM_TASK_ATTEMPT']}")
    time.sleep(seconds)
    note(folder, f"end {name} {os.environ['JOBSTREAM_TASK_ATTEMPT']}")


def note(folder: str, text: str) -> None:
    with (Path(folder) / "notes").open("a") as file:
        file.write(f"{time.time():.3f} {text}\n")


def fail(text: str = "broken down") -> None:
    print("about to fail")
    Path("evidence").write_text("why it failed")
    raise RuntimeError(text)


def fail_until(attempt: int, task: dict[str, Any]) -> int:
    """Fail in the attempts before this one."""
    if task["attempt"] < attempt:
        raise RuntimeError(f"not in attempt {task['attempt']}")
    return attempt


def spawn(folder: str) -> None:
    """Start a process that leaves the group and ignores SIGTERM, do so oneself, and never end."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(1000)


def vanish() -> None:
    os._exit(7)


def large(size: int) -> str:
    return "x" * size


def chatter(size: int) -> None:
    sys.stdout.write("y" * size)
    sys.stdout.flush()
    os.write(2, b"the end")
