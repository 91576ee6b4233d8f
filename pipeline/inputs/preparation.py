"""The built-in pre-processors, in order: inputs, marks on datasets among them, checksums (spec §4.1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.containers.threads import in_thread
from pipeline.inputs import checksums, marks
from pipeline.inputs.localize import Localized, Localizer
from pipeline.inputs.patience import Patience


async def prepare(localizer: Localizer, directory: Path, document: Mapping[str, Any], seconds: float) -> Localized:
    """Bring a job's inputs, mark the datasets and check the checksums among them; raises InputError, OSError.

    `seconds` is what checking may take.
    """
    localized = await localizer.localize(directory, document)
    if localized.paths:
        patience = Patience(seconds, "checking the inputs")
        try:
            await in_thread(marks.mark, directory)
            localized.figures["checked"] = await in_thread(checksums.check, localized.paths, patience)
        finally:
            patience.cancel()
    return localized
