"""The container images of jobs, as the settings say."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.containers.base import Engine
from pipeline.images.errors import ImageError
from pipeline.images.shelf import Use
from pipeline.images.supply import Supply, Terms
from pipeline.inputs.localize import Localizer
from pipeline.settings import Settings
from pipeline.work.errors import AttemptError, Category


class Images:
    """One for all attempts of a worker."""

    def __init__(self, settings: Settings, engine: Engine, localizer: Localizer) -> None:
        images = settings.images
        terms = Terms(
            seconds=images.timeout,
            size=images.max_mib << 20,
            need_digest=images.need_digest,
            keep=images.keep_mib << 20,
            registry=images.registry,
        )
        self._supply = Supply(engine, settings.image_folder, localizer, terms)

    async def sweep(self) -> None:
        """Remove images that are too much, which a lower limit may have made them."""
        await self._supply.sweep()

    def of(self, job_id: str) -> "JobImages":
        """Return those of one attempt of a job."""
        return JobImages(self._supply, job_id)


class JobImages:
    """The images of one attempt, which stay until it is closed."""

    def __init__(self, supply: Supply, job_id: str) -> None:
        self._supply = supply
        self._job_id = job_id
        self._uses: list[Use] = []

    async def supply(self, images: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """See `pipeline.work.supplying.Supply`."""
        try:
            return await self._supply.bring(self._job_id, images, self._uses)
        except ImageError as error:
            raise AttemptError(str(error), Category.IMAGE) from error

    def close(self) -> None:
        """Let go of them."""
        for use in self._uses:
            use.close()
