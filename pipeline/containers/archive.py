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
#: How gzip begins, and zlib is told of it.
_GZIP_MAGIC, _GZIP = b"\x1f\x8b", 31
#: Bytes that are unpacked at once, into a thousand times as many at the most.
_SLICE = 4096
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
        if size > _most(path):
            raise ArchiveError(f"the archive unpacks to {size} bytes, more than {_MAX_GROWTH} times its size")
        diff_ids = _diff_ids(config)
        if len(diff_ids) != len(layers):
            raise ArchiveError("the archive's layers are not those of its configuration")
        return cls(path, f"sha256:{hashlib.sha256(config).hexdigest()}", config, layers, diff_ids, size)

    def stream(self, check: bool = False) -> Iterator[bytes]:
        """Yield an archive of this image alone, without a name; raises ArchiveError, OSError.

        With `check` also where a layer isn't the one of the configuration, for an engine that doesn't look itself.
        """
        name = f"{self.image_id.removeprefix('sha256:')}.json"
        layers = [f"{number}.tar" for number in self.layers]
        yield from _file("manifest.json", orjson.dumps([{"Config": name, "RepoTags": None, "Layers": layers}]))
        yield from _file(name, self.config)
        wanted = set(self.layers)
        try:
            with tarfile.open(self.path) as archive:
                for number, member in enumerate(archive):
                    if number in wanted:
                        yield from self._layer(archive, member, number, check)
        except _DAMAGED as error:
            raise _damaged(error) from error
        yield bytes(2 * _BLOCK)

    def _layer(self, archive: tarfile.TarFile, member: tarfile.TarInfo, number: int, check: bool) -> Iterator[bytes]:
        yield _header(f"{number}.tar", member.size)
        digest = _Digest(_most(self.path)) if check else None
        for data in _chunks(archive, member):
            if digest is not None:
                digest.update(data)
            yield data
        yield bytes(-member.size % _BLOCK)
        meant = {diff_id for layer, diff_id in zip(self.layers, self.diff_ids, strict=True) if layer == number}
        if digest is not None and meant != {digest.diff_id}:
            raise ArchiveError(f"the archive's layer {digest.diff_id} is not the configuration's {', '.join(meant)}")

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


def _chunks(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = archive.extractfile(member) or io.BytesIO()
    left = member.size
    while left > 0:
        data = file.read(min(_CHUNK, left))
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        left -= len(data)
        yield data


class _Digest:
    """The digest of a layer as configurations have it: of the layer itself, where that is compressed."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._hash = hashlib.sha256()
        self._gzip: Any = None
        self._begun = False

    @property
    def diff_id(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def update(self, data: bytes) -> None:
        """Take what follows; raises ArchiveError where it unpacks to far more than it is, and zlib.error."""
        if not self._begun:
            self._begun = True
            self._gzip = zlib.decompressobj(_GZIP) if data.startswith(_GZIP_MAGIC) else None
        if self._gzip is None:
            self._hash.update(data)
            return
        for start in range(0, len(data), _SLICE):
            self._unpack(data[start : start + _SLICE])

    def _unpack(self, data: bytes) -> None:
        while data:
            if self._gzip.eof:
                # a gzip file may be several in a row
                self._gzip = zlib.decompressobj(_GZIP)
            plain = self._gzip.decompress(data)
            self._hash.update(plain)
            self._left -= len(plain)
            if self._left < 0:
                raise ArchiveError(f"a layer of the archive unpacks to more than {_MAX_GROWTH} times its size")
            data = self._gzip.unused_data


def _most(path: Path) -> int:
    return max(_MODEST, _MAX_GROWTH * path.stat().st_size)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)
