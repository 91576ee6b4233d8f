"""Image archives as `docker save` and `podman save` write them, compressed or not.

An archive says itself under which names its images are to be known, and an engine that loads it believes that: it may
take a name away from an image that others use. So an engine gets another archive, made of the given one: one image, its
configuration and its layers, and no name at all.
"""

import hashlib
import io
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.containers.errors import EngineError
from pipeline.containers.image_names import canonical

#: Bytes of the manifest or a configuration, and files in an archive.
_MAX_DOCUMENT, _MAX_FILES = 4 << 20, 100_000
#: How many times an archive's own size its image may have, and the size that is allowed anyhow.
_MAX_GROWTH, _MODEST = 100, 1 << 30
_CHUNK = 1 << 20
_BLOCK = 512
_LINKS = 10
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


class ArchiveError(EngineError):
    """The file holds no image that could be loaded, or not the one that is wanted."""


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """One image of an archive: its id is the digest of its configuration, `size` the bytes of its layers.

    `layers` are the numbers of the archive's files that hold them, in order; `diff_ids` the digests that the
    configuration gives them.
    """

    path: Path
    image_id: str
    config: bytes
    layers: tuple[int, ...]
    diff_ids: tuple[str, ...]
    size: int

    @classmethod
    def read(cls, path: Path, image: str) -> "ImageArchive":
        """Find the image that is to have a name.

        It is the one that the archive itself gives that name, or its only one if it gives none. Raises ArchiveError
        for an archive with other names, one that is damaged, and one that unpacks to far more than it is; OSError.
        """
        contents = _Contents.of(path)
        entry = _chosen(contents.manifest(), image)
        config = contents.document(str(entry.get("Config")))
        layers = tuple(contents.number(str(name)) for name in entry.get("Layers") or ())
        size = sum(contents.sizes[number] for number in set(layers))
        if size > max(_MODEST, _MAX_GROWTH * path.stat().st_size):
            raise ArchiveError(f"the archive unpacks to {size} bytes, more than {_MAX_GROWTH} times its size")
        diff_ids = _diff_ids(config)
        if len(diff_ids) != len(layers):
            raise ArchiveError("the archive's layers are not those of its configuration")
        return cls(path, f"sha256:{hashlib.sha256(config).hexdigest()}", config, layers, diff_ids, size)

    def stream(self) -> Iterator[bytes]:
        """Yield an archive of this image alone, without a name; raises ArchiveError, OSError."""
        name = f"{self.image_id.removeprefix('sha256:')}.json"
        layers = [f"{number}.tar" for number in self.layers]
        yield from _file("manifest.json", orjson.dumps([{"Config": name, "RepoTags": None, "Layers": layers}]))
        yield from _file(name, self.config)
        wanted = set(self.layers)
        try:
            with tarfile.open(self.path) as archive:
                for number, member in enumerate(archive):
                    if number in wanted:
                        yield from _copied(archive, member, f"{number}.tar")
        except _DAMAGED as error:
            raise _damaged(error) from error
        yield bytes(2 * _BLOCK)

    def is_that(self, attributes: Mapping[str, Any]) -> bool:
        """Say whether what an engine tells of an image it has (Docker's `inspect`) is this one.

        An engine that stores images by their manifests has another id for it: there the layers' digests count.
        """
        found = (attributes.get("RootFS") or {}).get("Layers") or []
        return attributes.get("Id") == self.image_id or (bool(found) and tuple(found) == self.diff_ids)


@dataclass(frozen=True, slots=True)
class _Contents:
    """The files of an archive: numbers by name, sizes by number, links, and the texts of small ones."""

    numbers: dict[str, int]
    sizes: dict[int, int]
    links: dict[str, str]
    small: dict[str, bytes]

    @classmethod
    def of(cls, path: Path) -> "_Contents":
        made = cls({}, {}, {}, {})
        left = 4 * _MAX_DOCUMENT
        try:
            with tarfile.open(path) as archive:
                for number, member in enumerate(archive):
                    if number >= _MAX_FILES:
                        raise ArchiveError(f"the archive has more than {_MAX_FILES} files")
                    left = made._add(archive, number, member, left)
        except _DAMAGED as error:
            raise _damaged(error) from error
        return made

    def _add(self, archive: tarfile.TarFile, number: int, member: tarfile.TarInfo, left: int) -> int:
        name = posixpath.normpath(member.name)
        if member.issym():
            self.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        elif member.islnk():
            self.links[name] = posixpath.normpath(member.linkname)
        elif member.isreg() and name not in self.numbers:
            self.numbers[name], self.sizes[number] = number, member.size
            if member.size <= min(left, _MAX_DOCUMENT):
                file = archive.extractfile(member)
                data = file.read() if file is not None else b""
                if data[:1] in (b"{", b"["):
                    self.small[name] = data
                    return left - len(data)
        return left

    def manifest(self) -> list[Mapping[str, Any]]:
        if "manifest.json" not in self.numbers:
            kind = "an OCI layout" if "index.json" in self.numbers else "no image archive"
            raise ArchiveError(f"it is {kind}: what `docker save` writes is needed, a tar with a manifest.json")
        return [entry for entry in _json(self.document("manifest.json"), list) if isinstance(entry, Mapping)]

    def document(self, name: str) -> bytes:
        found = self.small.get(self._resolved(name))
        if found is None:
            raise ArchiveError(f"the archive's {name[:200]} is missing, or no JSON of at most {_MAX_DOCUMENT} bytes")
        return found

    def number(self, name: str) -> int:
        found = self.numbers.get(self._resolved(name))
        if found is None:
            raise ArchiveError(f"the archive's layer {name[:200]} is missing: it is damaged, or not whole")
        return found

    def _resolved(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(_LINKS):
            if name not in self.links:
                break
            name = self.links[name]
        return name


def _chosen(manifest: list[Mapping[str, Any]], image: str) -> Mapping[str, Any]:
    named = [(entry, [str(name) for name in entry.get("RepoTags") or ()]) for entry in manifest]
    for entry, names in named:
        if canonical(image) in map(canonical, names):
            return entry
    if len(named) == 1 and not named[0][1]:
        return named[0][0]
    holds = ", ".join(name for _, names in named for name in names)[:500] or f"{len(named)} images without a name"
    raise ArchiveError(f"the archive holds {holds}, not {image}")


def _diff_ids(config: bytes) -> tuple[str, ...]:
    rootfs = _json(config, dict).get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _json(data: bytes, kind: type) -> Any:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ArchiveError(f"the archive is damaged: {error}") from error
    if not isinstance(value, kind):
        raise ArchiveError("the archive is damaged: its JSON is of another shape")
    return value


def _damaged(error: Exception) -> ArchiveError:
    return ArchiveError(f"it is no tar archive (plain, gzip, bzip2 or xz), or a damaged one: {error}")


def _file(name: str, data: bytes) -> Iterator[bytes]:
    yield _header(name, len(data))
    yield data + bytes(-len(data) % _BLOCK)


def _copied(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Iterator[bytes]:
    file = archive.extractfile(member) or io.BytesIO()
    yield _header(name, member.size)
    left = member.size
    while left > 0:
        data = file.read(min(_CHUNK, left))
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        left -= len(data)
        yield data
    yield bytes(-member.size % _BLOCK)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)
