"""Which image a job wants, and where it is to be had from (spec §6)."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.containers.image_names import is_qualified
from pipeline.images.errors import ImageError

#: What the same machines are called by others.
_ALIASES = {"x86_64": ("amd64",), "aarch64": ("arm64",), "amd64": ("x86_64",), "arm64": ("aarch64",)}
#: An engine whose images are files may know them by paths.
_NAME = re.compile(r"/?[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_DIGEST = "sha256="


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image by its name, the URL of its archive if there is one, and the SHA-256 that the archive must have."""

    name: str
    url: str | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any], machine: str = "") -> "Wanted":
        """Read the container fields of a job, or an entry of its `dependency_images`.

        `container_image_urls` (an object, or its text) goes before `container_image_url` where it knows the machine.
        A URL may end with `#sha256=` and the archive's digest. Raises ImageError for what is malformed.
        """
        name = fields.get("container_image_name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ImageError(f"container_image_name {str(name)[:200]!r} is no name of an image")
        url = _of_machine(fields.get("container_image_urls"), machine or platform.machine(), name)
        url = url or fields.get("container_image_url") or None
        if url is not None and not isinstance(url, str):
            raise ImageError(f"image {name}: container_image_url is no text")
        return cls(name) if url is None else cls(name, *_split(url.strip(), name))


def reference(name: str, registry: str) -> str:
    """Return what a registry calls an image: a name that says its own registry is not given another (spec §6).

    >>> reference("org/hello:1", "reg.example:5000"), reference("images.example/org/hello:1", "reg.example:5000")
    ('reg.example:5000/org/hello:1', 'images.example/org/hello:1')
    """
    return name if is_qualified(name) else f"{registry.rstrip('/')}/{name}"


def _of_machine(urls: Any, machine: str, name: str) -> str | None:
    if isinstance(urls, str) and urls.strip():
        try:
            urls = orjson.loads(urls)
        except orjson.JSONDecodeError as error:
            raise ImageError(f"image {name}: container_image_urls is no JSON: {error}") from error
    if not urls:
        return None
    if not isinstance(urls, Mapping) or not all(isinstance(one, str) for one in urls.values()):
        raise ImageError(f"image {name}: container_image_urls is no object of URLs by architecture")
    return next((urls[one] for one in (machine, *_ALIASES.get(machine, ())) if urls.get(one)), None)


def _split(url: str, name: str) -> tuple[str, str | None]:
    plain, _, fragment = url.partition("#")
    if not fragment:
        return plain, None
    digest = fragment.removeprefix(_DIGEST)
    if not fragment.startswith(_DIGEST) or not _SHA256.fullmatch(digest):
        raise ImageError(f"image {name}: after the # of its URL only sha256= and 64 hexadecimal digits are understood")
    return plain, digest.lower()
