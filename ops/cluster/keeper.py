"""Keeping an installation up: what has ended is started again, ever less often where that doesn't help."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from ops.cluster.installation import Cluster
from ops.cluster.steps import Step, StepState, Tell

#: Seconds between two looks at the processes.
LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before the next repair, in seconds; a repair that holds for `steady` makes it short again."""

    shortest: float = 1.0
    longest: float = 60.0
    steady: float = 60.0

    def after(self, wait: float, held: float) -> float:
        """Return the next wait, where the last was `wait` and its repair held for `held`."""
        return self.shortest if held >= self.steady else min(self.longest, max(self.shortest, 2 * wait))


class Keeper:
    """Looks after one installation until it is told to stop, or the installation is taken down by somebody else."""

    def __init__(
        self,
        cluster: Cluster,
        tell: Tell,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        look: float = LOOK,
    ) -> None:
        self._cluster = cluster
        self._tell = tell
        self._patience = patience or Patience()
        self._clock = clock
        self._look = look
        self._wait = 0.0
        self._mended = clock()

    def run(self, stop: Event) -> bool:
        """Start again what ends; return True once `stop` is set, False once the installation was taken down.

        What can't be started is said, and tried again; nothing is raised for it.
        """
        while not stop.wait(self._look):
            ended = [one.name for one in self._cluster.processes() if not one.running]
            if not ended:
                continue
            self._wait = self._patience.after(self._wait, self._clock() - self._mended)
            self._tell(Step("keeping it up", StepState.BEGUN, f"not running: {', '.join(ended)}"))
            if stop.wait(self._wait):
                break
            if not self._mend():
                return False
            self._mended = self._clock()
        return True

    def _mend(self) -> bool:
        try:
            return self._cluster.mend(self._only_news)
        except Exception as error:
            # whatever it was, a server that went away again too: who leaves now leaves the rest without a keeper
            self._tell(Step("keeping it up", StepState.FAILED, (str(error) or repr(error)).splitlines()[0]))
            return True

    def _only_news(self, step: Step) -> None:
        if step.state is not StepState.KEPT and step.name != "topics":
            self._tell(step)
