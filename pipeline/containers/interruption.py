"""Whether a container ended by itself, or was ended by its engine as that went down or came up again.

An engine that stops tells its containers to end, and a command that heeds the signal may end with exit code 0, as if
all were done.
"""

import math
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import docker
import requests
from docker.errors import DockerException

#: Seconds before it was noticed that the engine is away that a container's end counts as the engine's doing.
_SLACK = 10.0
#: Seconds before a container's end in which signals are looked for.
_LOOK_BACK = 300


class Interruption:
    """What is known of one container's engine while the container runs; for one thread at a time."""

    def __init__(self, title: str, client: docker.DockerClient, container: str) -> None:
        """`title` is what errors call the engine."""
        self._title = title
        self._client = client
        self._container = container
        self._signalled = False
        self._lost: float | None = None
        self._first_lost = math.inf

    @property
    def away(self) -> float:
        """Seconds since when the engine doesn't answer; 0 if it does."""
        return 0.0 if self._lost is None else time.monotonic() - self._lost

    def lost(self) -> bool:
        """Note that the engine doesn't answer; return whether that was never so before."""
        self._lost = time.monotonic() if self._lost is None else self._lost
        first = self._first_lost == math.inf
        if first:
            self._first_lost = time.time()
        return first

    def found(self) -> None:
        """Note that it answers again."""
        self._lost = None

    def signalled(self) -> None:
        """Note that we told the container to end: then it isn't asked who did."""
        self._signalled = True

    def of(self, state: Mapping[str, Any]) -> str | None:
        """Say that the engine, or somebody by its means, ended a container with this state; None if it ended itself.

        Where that can't be found out because the engine is gone it counts as the engine's doing.
        """
        if self._signalled:
            return None
        code = state.get("ExitCode")
        try:
            if self._ended_meanwhile(state):
                return f"{self._title} was stopped or died while the command ran, and ended it (exit code {code})"
            signals = self._signals()
        except (DockerException, requests.RequestException, ValueError) as error:
            return f"{self._title} went away as the command ended (exit code {code}): {error}"
        if signals:
            sent = ", ".join(signals)
            return (
                f"{self._title} was told to stop the command, or was stopped itself: signal {sent} (exit code {code})"
            )
        return None

    def _ended_meanwhile(self, state: Mapping[str, Any]) -> bool:
        if self._first_lost == math.inf or self._client.info().get("LiveRestoreEnabled"):
            return False
        ended = str(state.get("FinishedAt") or "")[:19]
        return datetime.fromisoformat(f"{ended}+00:00").timestamp() + 1 >= self._first_lost - _SLACK

    def _signals(self) -> list[str]:
        api: Any = self._client.api
        now = time.time()
        # to the millisecond: a whole second would leave out what was just now, or wait until it is over
        asked = {"since": f"{now - _LOOK_BACK:.3f}", "until": f"{now:.3f}"}
        found = api.events(**asked, filters={"container": self._container, "event": "kill"}, decode=True)
        attributes = [(event.get("Actor") or {}).get("Attributes") or {} for event in found]
        return [str(one.get("signal", "?"))[:10] for one in attributes]


class Outliving(Interruption):
    """Of an engine whose containers go on whatever becomes of it."""

    def of(self, state: Mapping[str, Any]) -> str | None:
        """See Interruption."""
        return None
