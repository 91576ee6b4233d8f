"""What the cloud says of this machine, asked in the background, and its notice that the machine will go."""

import asyncio
import logging
from collections.abc import Mapping

from agents.worker.actor import Actor
from agents.worker.metadata import USUAL, Interruption, Metadata, MetadataError, facts
from agents.worker.rack import Rack
from pipeline.containers.threads import in_thread
from pipeline.settings import WorkerSettings
from pipeline.work import machine

log = logging.getLogger(__name__)

#: Seconds until a service that didn't answer is asked again: at first, and at most.
_FIRST, _LONGEST = 5.0, 300.0


class Cloud:
    """The facts, empty until they are known; replaced as a whole."""

    def __init__(self) -> None:
        self.facts: Mapping[str, str] = {}


class CloudWatch(Actor):
    """Asks once for the facts and then, on a spot instance, again and again whether it will be taken away.

    If so the worker takes no more jobs; those that run go on, and are handed back when the machine's shutdown stops
    the worker. Nothing is said on jobs.settings: a machine of this name that comes back is to work again.
    """

    def __init__(self, service: Metadata, cloud: Cloud, rack: Rack, pause: float, retry: float = _FIRST) -> None:
        """`pause` is the time between two looks for the notice, in seconds; 0: it is not looked for."""
        super().__init__()
        self._service = service
        self._cloud = cloud
        self._rack = rack
        self._pause = pause
        self._retry = retry
        self._warned = False

    async def act(self) -> None:
        """Learn the facts, then watch for as long as the worker lives."""
        await self._learn()
        if self._pause <= 0 or self._cloud.facts.get("ec2_instance_life_cycle", "spot") != "spot":
            return
        while True:
            await self._look()
            await asyncio.sleep(self._pause)

    async def _learn(self) -> None:
        pause = self._retry
        while True:
            try:
                self._cloud.facts = await in_thread(facts, self._service)
            except MetadataError as error:
                self._warn(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST)
            else:
                log.info("metadata service: %s", dict(self._cloud.facts))
                return

    async def _look(self) -> None:
        try:
            told = await in_thread(self._service.interruption)
        except MetadataError as error:
            self._warn(error)
            return
        if told is not None:
            self._heed(told)

    def _heed(self, told: Interruption) -> None:
        # again if somebody resumed it meanwhile: what it would take now is lost
        if not self._rack.holdings.draining:
            log.warning("drains itself: %s", told)
            self._rack.drain(True, str(told))

    def _warn(self, error: MetadataError) -> None:
        """Say it once aloud: a service that is away stays so for long."""
        log.log(logging.DEBUG if self._warned else logging.WARNING, "metadata service: %s", error)
        self._warned = True


def metadata_service(worker: WorkerSettings) -> Metadata | None:
    """Return the service that the settings name, or that this machine is known to have; None for none."""
    match worker.metadata:
        case "off":
            return None
        case "auto":
            return Metadata(USUAL) if machine.is_ec2() else None
        case url:
            return Metadata(url)
