"""The container images of jobs, as the settings say."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.containers.base import Engine
from pipeline.images.errors import ImageError
from pipeline.images.supply import Supply, Terms
from pipeline.inputs.localize import Localizer
from pipeline.settings import Settings
from pipeline.work import supplying
from pipeline.work.errors import AttemptError, Category


class Images:
    """One for all attempts of a worker."""

    def __init__(self, settings: Settings, engine: Engine, localizer: Localizer) -> None:
        images = settings.images
        terms = Terms(seconds=images.timeout, size=images.max_mib << 20, need_digest=images.need_digest)
        self._supply = Supply(engine, settings.image_folder, localizer, terms)

    def of(self, job_id: str) -> supplying.Supply:
        """Return what brings the images of one job."""

        async def supply(images: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            try:
                return await self._supply.bring(job_id, images)
            except ImageError as error:
                raise AttemptError(str(error), Category.IMAGE) from error

        return supply
