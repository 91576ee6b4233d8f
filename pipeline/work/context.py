"""The job's context as its command sees it: `_context.json` (spec §3.2), which the command may edit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from pipeline.masking import masked
from pipeline.nesting import MOST_LEVELS, is_too_deep
from pipeline.work import files

#: Bytes of the file that are read back.
_LIMIT = 4 << 20


def build(
    document: Mapping[str, Any],
    container: Mapping[str, Any],
    task_id: str,
    image_id: str | None,
    dependencies: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the context: the document's under `context` if not empty, all parameters at the top, and what is known
    of the run; `dependencies` are images that it depends on, with their ids."""
    nested = document.get("context")
    return {
        **({"context": nested} if nested else {}),
        **(document.get("params") or {}),
        "job_priority": document.get("priority"),
        **container,
        "container_image_id": image_id,
        **({"dependency_images": list(dependencies)} if dependencies else {}),
        "_prov": {"wasGeneratedBy": f"task_id:{task_id}", **_derived(document)},
        "_force_ingest": document.get("publish_overwrite_ok") is True,
    }


def _derived(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs (spec §3.1 step 19); known before the command, and so shown to it too."""
    entries = document.get("localize_urls")
    urls = [one.get("url") if isinstance(one, Mapping) else one for one in entries or []]
    found = [f"url:{masked(url)}" for url in urls if isinstance(url, str)]
    return {"wasDerivedFrom": found} if found else {}


def read_back(directory: Path) -> dict[str, Any]:
    """Return the context as the command left it; raises ValueError if it is no JSON object of at most 4 MiB, or
    nested too deep."""
    data = files.read(directory / files.CONTEXT, _LIMIT + 1)
    if data is None or len(data) > _LIMIT:
        raise ValueError(f"{files.CONTEXT} is gone or longer than {_LIMIT} bytes")
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"{files.CONTEXT} is no object")
    if is_too_deep(value):
        raise ValueError(f"{files.CONTEXT} is nested deeper than {MOST_LEVELS} levels")
    return value
