"""What share of the processor an installation's processes get where there is too little for all."""

import contextlib
import os
from pathlib import Path

#: Between servers' 0 and the 19 of what may stand still: a tenth of the weight of a process that is left alone.
_NICENESS = 10
_PROC = Path("/proc")


def yield_to_others(pid: int) -> None:
    """Have a process give way to the others: it gets what they leave, and about a tenth of a share where all are busy.

    Meant for what nobody waits for: facts stay in Kafka until the index takes them, while a job waits for each step
    of its way to a slot. Linux weighs sessions first and then the processes within each where autogroups are on
    (sched(7)), so that niceness alone would change nothing between sessions: both are set. Best effort: a kernel that
    has neither, or a process that ended, is left as it is.
    """
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
    with contextlib.suppress(OSError):
        # the caller's own session must not give way because one of its children does
        if os.getsid(pid) != os.getsid(0):
            (_PROC / str(pid) / "autogroup").write_text(str(_NICENESS))


def _threads(pid: int) -> list[int]:
    try:
        return [int(one.name) for one in (_PROC / str(pid) / "task").iterdir()]
    except OSError:
        return []
