"""The supervisor of the worker's actors."""

from collections.abc import Callable

from mode.supervisors import OneForOneSupervisor

from agents.worker.actor import Actor

#: Restarts within `OVER` seconds after which an actor is given up, and the worker with it.
RESTARTS, OVER = 10, 60.0


class Crew(OneForOneSupervisor):  # type: ignore[misc]
    """Starts an actor again that crashed; tells the worker once that happens too often."""

    mundane_level = "debug"

    def __init__(self, gave_up: Callable[[], None], *actors: Actor) -> None:
        # mode fills a bucket of `over` tokens with `max_restarts` of them a second
        super().__init__(max_restarts=RESTARTS / OVER, over=RESTARTS)
        self._gave_up = gave_up
        self.add(*actors)

    async def restart_service(self, service: Actor) -> None:
        """Start it again, within the limit."""
        try:
            await super().restart_service(service)
        except SystemExit:
            self._gave_up()
