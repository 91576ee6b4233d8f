"""Image archives, as `docker save` writes them: which image one holds."""

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.containers.errors import EngineError

_LARGEST = 16 << 20
#: Where a SIF file says that it is one.
_SIF_AT, _SIF = 32, b"SIF_MAGIC"


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """The image's id, which Docker would call it by too, and what it is called in an archive that holds several."""

    identity: str
    reference: str | None


def is_sif(path: Path) -> bool:
    """Return whether a file is an image of Apptainer's own format; raises OSError."""
    with path.open("rb") as file:
        return file.read(_SIF_AT + len(_SIF))[_SIF_AT:] == _SIF


def image_in(archive: Path, name: str) -> ArchivedImage:
    """Return the one image of an archive, or of several the one that is tagged `name`; raises EngineError."""
    try:
        with tarfile.open(archive) as tar:
            images = json.loads(_read(tar, "manifest.json"))
            several = len(images) > 1
            found = [image for image in images if not several or name in (image.get("RepoTags") or ())]
            if len(found) != 1:
                raise EngineError(f"{archive} holds {len(images)} images, and not one that is tagged {name}")
            digest = hashlib.sha256(_read(tar, found[0]["Config"])).hexdigest()
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{archive} is no image archive: {error}") from error
    return ArchivedImage(f"sha256:{digest}", name if several else None)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member: IO[bytes] | None = tar.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    data = member.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{name} is too large")
    return data
