"""Image archives made into what Apptainer runs: root directories, unpacked by Apptainer itself."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.containers.archive import ImageArchive
from pipeline.containers.errors import ITS_OWN, EngineError, UnavailableError
from pipeline.containers.image_names import repository_and_tag
from pipeline.containers.images import IDENTITY_FILE, ImageFolder, digest_of

#: Seconds that an archive may take to unpack.
_LONGEST = 3600
#: Where a SIF file says that it is one.
_SIF_AT, _SIF = 32, b"SIF_MAGIC"


def load(images: ImageFolder, archive: Path, name: str, program: str, env: Mapping[str, str]) -> None:
    """Have a folder know the image of an archive, or a SIF file, by a name; raises EngineError and OSError.

    `program` is Apptainer, run in this environment.
    """
    repository_and_tag(name)
    if is_sif(archive):
        images.keep(name, digest_of(archive), lambda path: shutil.copyfile(archive, path))
        return
    image = ImageArchive.read(archive, name)

    def make(path: Path) -> None:
        single = path.with_name(f"{path.name}.tar")
        try:
            # The program would take any layers, and the image is known to all by its configuration's digest.
            with single.open("wb") as file:
                file.writelines(image.stream(check=True))
            # Beside the image: the system's own folder for such may be small.
            _unpack(single, path, program, {**env, "APPTAINER_TMPDIR": str(path.parent)})
        finally:
            single.unlink(missing_ok=True)
        _mark(path, image)

    images.keep(name, image.image_id, make)


def is_sif(path: Path) -> bool:
    """Return whether a file is an image of Apptainer's own format; raises OSError."""
    with path.open("rb") as file:
        return file.read(_SIF_AT + len(_SIF))[_SIF_AT:] == _SIF


def _mark(path: Path, image: ImageArchive) -> None:
    mark = path / IDENTITY_FILE
    # The image may bring one, or a link.
    mark.unlink(missing_ok=True)
    mark.write_text(f"{image.image_id}\n")


def _unpack(archive: Path, path: Path, program: str, env: Mapping[str, str]) -> None:
    source = f"docker-archive:{archive.absolute()}"
    line = [program, "--silent", "build", "--disable-cache", "--sandbox", str(path), source]
    try:
        done = subprocess.run(line, env=env, capture_output=True, timeout=_LONGEST, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"the image isn't unpacked after {_LONGEST} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        kind = UnavailableError if any(words in said for words in ITS_OWN) else EngineError
        raise kind(f"the image can't be unpacked: {said[-500:]}")
