"""Checks inputs against the checksum files that came with them (spec §4.1).

`granule.nc.md5` holds the MD5 of `granule.nc` beside it; the suffix is taken off the end of the name only (spec §13).
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.inputs.errors import CorruptError
from pipeline.inputs.patience import Patience
from pipeline.work import files

ALGORITHMS = (
    *("md5", "sha1", "sha224", "sha256", "sha384", "sha512"),
    *("sha3_224", "sha3_256", "sha3_384", "sha3_512"),
    *("blake2b", "blake2s", "shake_128", "shake_256"),
)
#: Bytes of a digest of the two functions that have any length.
SHAKE_LENGTH = 255
#: Bytes of a checksum file that are read, and of a file at a time.
_LINE, _CHUNK = 4096, 1 << 20
#: Mismatches that are named one by one.
_NAMED = 20


def check(paths: Iterable[Path], patience: Patience) -> int:
    """Check each file that was brought, and those directly in each directory that was; return how many were.

    A checksum file's first line is the digest, in capitals or not; what follows after a space is ignored, as the tools
    that write such files put the name there. One whose file is not there is passed over. Raises CorruptError naming
    all that don't fit, or as Patience does.
    """
    checked, wrong = 0, []
    for path in sorted(set(_files(paths))):
        algorithm = path.suffix.removeprefix(".")
        if algorithm not in ALGORITHMS:
            continue
        data = path.with_name(path.name.removesuffix(f".{algorithm}"))
        if not data.is_file() or data == path:
            continue
        checked += 1
        expected, found = _expected(path), digest(data, algorithm, patience)
        if expected != found:
            wrong.append(f"{data.name}: {algorithm} is {found[:64]}, {path.name} says {expected[:64] or 'nothing'}")
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise CorruptError(f"{len(wrong)} of {checked} checksums don't fit: {'; '.join(wrong[:_NAMED])}{more}")
    return checked


def digest(path: Path, algorithm: str, patience: Patience) -> str:
    """Return a file's digest in small hexadecimal letters; raises OSError, ValueError, or as Patience does."""
    made = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            patience.check()
            made.update(data)
    if algorithm.startswith("shake_"):
        return made.hexdigest(SHAKE_LENGTH)  # type: ignore[call-arg]
    return made.hexdigest()


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            yield from (inner for inner in path.iterdir() if inner.is_file())
        elif path.is_file():
            yield path


def _expected(path: Path) -> str:
    words = (files.read(path, _LINE) or b"").partition(b"\n")[0].split()
    return words[0].decode(errors="replace").lower() if words else ""
