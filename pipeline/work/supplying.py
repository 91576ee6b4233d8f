"""The images of a job, made known to the engine before anything else of the job is done (spec §3.1 step 13)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pipeline.containers.base import Engine
from pipeline.containers.errors import EngineError, UnavailableError
from pipeline.work.errors import AttemptError, Category

#: Make images known to the engine, given the container fields of each; returns a `name` and an `id` of each, and more.
#: Raises AttemptError, EngineError.
Supply = Callable[[Sequence[Mapping[str, Any]]], Awaitable[Sequence[Mapping[str, Any]]]]


async def supplied(
    engine: Engine, supply: Supply | None, images: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Return what is known of each image once all are there; without a supply only what the engine has is.

    Raises AttemptError: `image` where one can't be had, `worker` where that is the engine's fault.
    """
    if not images[0].get("container_image_name"):
        raise AttemptError("the job names no container image")
    try:
        if supply is not None:
            return await supply(images)
        names = [one.get("container_image_name") for one in images]
        return [{"name": name, "id": await engine.image_id(name)} for name in names]
    except UnavailableError as error:
        raise AttemptError(str(error), Category.WORKER) from error
    except EngineError as error:
        raise AttemptError(str(error), Category.IMAGE) from error
