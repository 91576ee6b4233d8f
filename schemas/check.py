"""Says whether each schema still reads what its published versions wrote: run as `python -m schemas.check`.

A change to a schema is published by adding `published/<name>/<n>.avsc`, equal to it; published ones never change.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import fastavro
from fastavro.utils import generate_many

FOLDER = Path(__file__).parent
#: Random records of each published version that the current schema must read.
_SAMPLES = 50


def names() -> list[str]:
    """Return the names of all schemas."""
    return sorted(path.stem for path in FOLDER.glob("*.avsc"))


def published(name: str, folder: Path = FOLDER) -> list[tuple[str, dict[str, Any]]]:
    """Return (file name, schema) of the published versions, the newest last."""
    files = sorted((folder / "published" / name).glob("*.avsc"), key=lambda path: int(path.stem))
    return [(path.name, json.loads(path.read_text())) for path in files]


def problems(name: str, folder: Path = FOLDER) -> list[str]:
    """Return what is wrong with a schema, nothing where it is current and reads all that was published."""
    current: dict[str, Any] = json.loads((folder / f"{name}.avsc").read_text())
    versions = published(name, folder)
    found = [
        f"{name} can't read {file}: {trouble}"
        for file, schema in versions
        if (trouble := unreadable(schema, current)) is not None
    ]
    if not versions:
        found.append(f"{name} was never published")
    elif versions[-1][1] != current:
        found.append(f"{name} differs from {versions[-1][0]}, its newest published version")
    return found


def unreadable(writer: dict[str, Any], reader: dict[str, Any]) -> str | None:
    """Return why `reader` can't read what `writer` wrote, None where it can."""
    try:
        written, wanted = fastavro.parse_schema(writer), fastavro.parse_schema(reader)
        for record in generate_many(written, _SAMPLES):
            data = io.BytesIO()
            fastavro.schemaless_writer(data, written, record)
            data.seek(0)
            fastavro.schemaless_reader(data, written, wanted)
    except Exception as error:  # fastavro raises whatever the schemas lead it to
        return f"{type(error).__name__}: {error}"[:500]
    return None


def main() -> int:
    """Print every problem; return 1 where there is one."""
    found = [problem for name in names() for problem in problems(name)]
    sys.stdout.writelines(f"{problem}\n" for problem in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
