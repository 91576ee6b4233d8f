"""Image archives made into what Apptainer runs: root directories, unpacked by Apptainer itself."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.containers.archives import ArchivedImage, extract, image_in, is_sif
from pipeline.containers.errors import EngineError
from pipeline.containers.images import IDENTITY_FILE, ImageFolder, digest_of

#: Seconds that an archive may take to unpack.
_LONGEST = 3600


def load(images: ImageFolder, archive: Path, name: str, program: str, env: Mapping[str, str]) -> None:
    """Have a folder know the image of an archive, or a SIF file, by a name; raises EngineError and OSError.

    `program` is Apptainer, run in this environment.
    """
    if is_sif(archive):
        images.keep(name, digest_of(archive), lambda path: shutil.copyfile(archive, path))
        return
    image = image_in(archive, name)

    def make(path: Path) -> None:
        single = path.with_name(f"{path.name}.tar")
        try:
            if not image.alone:
                # Apptainer takes the first of several.
                extract(archive, image, single)
            # Beside the image: the system's own folder for such may be small.
            more = {**env, "APPTAINER_TMPDIR": str(path.parent)}
            _unpack(archive if image.alone else single, path, program, more)
        finally:
            single.unlink(missing_ok=True)
        _mark(path, image)

    images.keep(name, image.identity, make)


def _mark(path: Path, image: ArchivedImage) -> None:
    mark = path / IDENTITY_FILE
    # The image may bring one, or a link.
    mark.unlink(missing_ok=True)
    mark.write_text(f"{image.identity}\n")


def _unpack(archive: Path, path: Path, program: str, env: Mapping[str, str]) -> None:
    source = f"docker-archive:{archive.absolute()}"
    line = [program, "--silent", "build", "--disable-cache", "--sandbox", str(path), source]
    try:
        done = subprocess.run(line, env=env, capture_output=True, timeout=_LONGEST, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{archive} isn't unpacked after {_LONGEST} s") from None
    if done.returncode != 0:
        raise EngineError(f"{archive} can't be unpacked: {done.stderr.decode(errors='replace').strip()[-500:]}")
