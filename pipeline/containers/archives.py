"""Image archives, as `docker save` writes them: which image one holds."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.containers.errors import EngineError

_LARGEST = 16 << 20
#: Where a SIF file says that it is one.
_SIF_AT, _SIF = 32, b"SIF_MAGIC"


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """The image's id, which Docker would call it by too, its entry in the manifest, and whether it is the only one."""

    identity: str
    entry: Mapping[str, Any]
    alone: bool


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
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{archive} is no image archive: {error}") from error
    return ArchivedImage(f"sha256:{digest}", found[0], not several)


def extract(archive: Path, image: ArchivedImage, path: Path) -> None:
    """Write an archive that has no other image; raises EngineError, and OSError for what can't be written."""
    manifest = json.dumps([dict(image.entry)]).encode()
    kept = {image.entry["Config"], *image.entry.get("Layers", ())}
    try:
        with tarfile.open(archive) as tar, tarfile.open(path, "w") as new:
            named = tarfile.TarInfo("manifest.json")
            named.size = len(manifest)
            new.addfile(named, io.BytesIO(manifest))
            for member in tar:
                # Older ones have equal layers once, and links to it.
                if member.name in kept or member.issym() or member.name.endswith("layer.tar"):
                    new.addfile(member, tar.extractfile(member) if member.isreg() else None)
    except (tarfile.TarError, EOFError) as error:
        raise EngineError(f"{archive} is no image archive: {error}") from error


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member: IO[bytes] | None = tar.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    data = member.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{name} is too large")
    return data
