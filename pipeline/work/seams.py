"""What whoever runs an attempt puts into it: images, inputs, products, and being told that it begins."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.processors.processor import Processor
from pipeline.work.errors import AttemptError, Category
from pipeline.work.supplying import Supply

#: Bring the job's inputs into its directory; returns entries of `inputs_localized`.
Prepare = Callable[[Path, Mapping[str, Any]], Awaitable[Sequence[Mapping[str, Any]]]]
#: Publish the products in the directory, of the job as `_job.json` shows it; returns entries of `products_staged`.
Publish = Callable[[Path, Mapping[str, Any]], Awaitable[Sequence[Mapping[str, Any]]]]
#: Told once, before the command runs, the fields of `job_info` that are known then.
Announce = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Seams:
    """What is called on the way: all before the command but `publish`, which follows it. None: nothing is."""

    supply: Supply | None
    prepare: Prepare | None
    pre: Sequence[Processor]
    announce: Announce | None
    publish: Publish | None


async def transferred(
    seam: Prepare | Publish, directory: Path, category: Category, document: Mapping[str, Any], limit: float
) -> Sequence[Any]:
    """Return what a seam brought or published within `limit` seconds; raises AttemptError, whatever went wrong."""
    try:
        async with asyncio.timeout(limit):
            return await seam(directory, document)
    except AttemptError:
        raise
    except TimeoutError as error:
        said = f"{category.value} failed: {str(error) or f'not done in {limit:g} s'}"
        raise AttemptError(said, category) from error
    except Exception as error:
        raise AttemptError(f"{category.value} failed: {type(error).__name__}: {error}", category) from error
