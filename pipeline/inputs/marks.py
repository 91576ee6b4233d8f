"""Marks datasets that came as inputs, so that they are never published again (spec §4.1, §4.2)."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.datasets.discovery import LOCALIZED, SUFFIX
from pipeline.work import files


def mark(directory: Path) -> list[Path]:
    """Put the mark into each dataset directory below one, and return those; raises OSError.

    A dataset directory holds a description under its own name: `X/X.dataset.json`. Links are not followed.
    """
    found = list(_datasets(directory))
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()
    for path in found:
        files.write(path / LOCALIZED, now)
    return found


def _datasets(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders.sort()
        path = Path(folder)
        if f"{path.name}{SUFFIX}" in names:
            yield path
