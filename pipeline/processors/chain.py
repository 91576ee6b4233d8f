"""Calls processors in order."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.processors.processor import Processor, ProcessorError, Said

#: Characters of a processor's error that are kept.
_SAID = 2000


async def before(
    processors: Sequence[Processor],
    directory: Path,
    job: Mapping[str, Any],
    context: Mapping[str, Any],
    timeout: float,  # noqa: ASYNC109
) -> Said:
    """Call them all, each with the context that the one before left; the command may run if all say so.

    Raises ProcessorError, naming it, for the first that fails or takes longer than `timeout` seconds; those after it
    aren't called.
    """
    go_on = True
    for processor in processors:
        try:
            said = await _call(processor, directory, job, context, timeout)
        except ProcessorError as error:
            raise ProcessorError(f"pre-processor {error}") from error
        go_on, context = go_on and said.go_on, said.context
    return Said(go_on, context)


async def after(
    processors: Sequence[Processor],
    directory: Path,
    job: Mapping[str, Any],
    context: Mapping[str, Any],
    timeout: float,  # noqa: ASYNC109
) -> list[str]:
    """Call them all, whatever becomes of the others; return what went wrong, each with the processor's name."""
    errors = []
    for processor in processors:
        try:
            context = (await _call(processor, directory, job, context, timeout)).context
        except ProcessorError as error:
            errors.append(f"post-processor {error}")
    return errors


async def _call(
    processor: Processor,
    directory: Path,
    job: Mapping[str, Any],
    context: Mapping[str, Any],
    timeout: float,  # noqa: ASYNC109
) -> Said:
    try:
        async with asyncio.timeout(timeout):
            return await processor(directory, job, context)
    except TimeoutError as error:
        raise ProcessorError(f"{processor.name} failed: {str(error) or f'not done in {timeout:g} s'}") from error
    except ProcessorError as error:
        raise ProcessorError(f"{processor.name} failed: {error}"[:_SAID]) from error
    except Exception as error:
        raise ProcessorError(f"{processor.name} failed: {type(error).__name__}: {error}"[:_SAID]) from error
