"""Processors as an operator may write them."""

import os
import time
from pathlib import Path
from typing import Any

Object = dict[str, Any]


def note(job: Object, context: Object) -> bool:
    """Leave a file, and a word in the context."""
    print("noted", job["job_id"])
    Path("noted").write_text(str(job["job_info"].get("status")))
    context["note"] = "from a processor"
    return True


def refuse(job: Object, context: Object) -> bool:
    """Say that the command is not to run."""
    return False


def break_down(job: Object, context: Object) -> None:
    """Fail."""
    raise RuntimeError("broken down")


def vanish(job: Object, context: Object) -> None:
    """End without a word."""
    os._exit(3)


def hang(job: Object, context: Object) -> None:
    """Never end; its pid tells whether it has been ended."""
    Path("hanging").write_text(str(os.getpid()))
    time.sleep(600)


def end(job: Object, context: Object) -> bool:
    """Leave what the job's end looks like from here."""
    Path("ended").write_text(f"{job['status']} {job['job_info']['status']} {job.get('error', '-')[:20]}")
    return True


def tell_environment(job: Object, context: Object) -> bool:
    """Leave the names of the variables, and where modules come from."""
    import sys

    Path("environment").write_text("\n".join([*os.environ, *sys.path]))
    return True
