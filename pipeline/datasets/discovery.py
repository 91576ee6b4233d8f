"""Finding the products that a job left in its directory (spec §4.2)."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.datasets.enrichment import instant
from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.geojson import check_geometry
from pipeline.datasets.tree import JobTree, is_text

SUFFIX = ".dataset.json"
#: A directory that holds this file came from elsewhere (an input) and is never published again.
LOCALIZED = ".localized"
#: bytes; a description, not the data
MAX_DATASET_JSON = 1 << 20
#: bytes
MAX_MET_JSON = 4 << 20
#: Products of a job, and bytes of all their descriptions and metadata: all of them are in memory at once.
MAX_PRODUCTS, MAX_DESCRIBED = 10_000, 64 << 20
#: Candidates that don't count of which it is said why.
_SKIPPED = 50
#: A product's id names a directory, an index entry and part of a URL.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:=@-]{0,199}")
_INDEX_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,199}")


def _checked_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _checked_place(value: dict[str, Any]) -> dict[str, Any]:
    check_geometry(value)
    return value


def _checked_index_name(name: str) -> str:
    if not _INDEX_NAME.fullmatch(name):
        raise ValueError("must be lower-case letters, digits, '_', '.' or '-', starting with a letter or digit")
    return name


IndexName = Annotated[str, AfterValidator(_checked_index_name)]
Time = Annotated[str, AfterValidator(_checked_time)]


class IndexChoice(BaseModel):
    """Where the product's document goes, in place of the index that its version and name give."""

    model_config = ConfigDict(extra="forbid", strict=True)
    suffix: IndexName | None = None
    aliases: list[IndexName] = Field(default_factory=list, max_length=20)


class DatasetFile(BaseModel):
    """`X.dataset.json`. Fields that it doesn't name are kept and indexed as they are."""

    model_config = ConfigDict(extra="allow", strict=True)
    version: str = Field(min_length=1, max_length=100)
    label: str | None = None
    location: Annotated[dict[str, Any], AfterValidator(_checked_place)] | None = None
    starttime: Time | None = None
    endtime: Time | None = None
    creation_timestamp: Time | None = None
    index: IndexChoice | None = None

    @model_validator(mode="after")
    def _ends_after_start(self) -> "DatasetFile":
        if self.starttime and self.endtime and instant(self.starttime) > instant(self.endtime):
            raise ValueError("starttime is after endtime")
        return self


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product directory, validated. `dataset` and `met` are the parsed files; `met` is None without one.

    `extracted` says that `met` was made here, and is in no file of the job.
    """

    id: str
    path: Path
    parts: tuple[str, ...]
    dataset: dict[str, Any]
    met: dict[str, Any] | None
    extracted: bool = False


@dataclass(frozen=True)
class Discovery:
    """What was found, ordered by path, and a sentence for each candidate that doesn't count."""

    products: list[Product] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def discover(tree: JobTree) -> Discovery:
    """Find every product under a job directory.

    A link to a directory inside the job directory counts as that directory under the link's name, but is not
    searched further; one that leads outside is skipped. Raises InvalidProduct for a product whose files are
    malformed, for two products with one id, and for too many products.
    """
    found: dict[str, Product] = {}
    seen: set[tuple[str, ...]] = set()
    skipped: list[str] = []
    described = 0
    for name, parts in _candidates(tree, skipped):
        if parts in seen:
            continue
        seen.add(parts)
        product = _read_product(tree, name, parts)
        if product.id in found:
            raise InvalidProduct(f"two products are named {product.id}: {found[product.id].path}, {product.path}")
        found[product.id] = product
        described += _described(tree, product)
        if len(found) > MAX_PRODUCTS or described > MAX_DESCRIBED:
            most = f"{MAX_PRODUCTS} products, with {MAX_DESCRIBED >> 20} MiB of descriptions and metadata"
            raise InvalidProduct(f"{tree.root}: more than {most}: a job can't publish that many at once")
    more = [f"and {len(skipped) - _SKIPPED} more"] if len(skipped) > _SKIPPED else []
    return Discovery(list(found.values()), skipped[:_SKIPPED] + more)


def _candidates(tree: JobTree, skipped: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each directory that counts as (the name that it is known by, where it really is)."""
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        shown = parts[-1] if parts else tree.root.name
        if _counts(tree, shown, parts, skipped):
            yield shown, parts
        inner, links = _directories(tree, parts)
        pending.extend(reversed(inner))
        for link in links:
            try:
                target = tree.locate(tree.path(link))
            except InvalidProduct as error:
                skipped.append(str(error))
                continue
            if tree.path(target).is_dir() and _counts(tree, link[-1], target, []):
                yield link[-1], target


def _directories(tree: JobTree, parts: tuple[str, ...]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The real directories and the links to directories directly inside `parts`."""
    inner, links = [], []
    with tree.opened(parts, directory=True) as handle, os.scandir(handle) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                if (tree.path(parts) / entry.name).is_dir():
                    links.append((*parts, entry.name))
            elif entry.is_dir(follow_symlinks=False):
                inner.append((*parts, entry.name))
    return inner, links


def _counts(tree: JobTree, name: str, parts: tuple[str, ...], skipped: list[str]) -> bool:
    """Whether the directory is a product named `name`; says why in `skipped` where it only looks like one."""
    names = tree.entries(parts, lambda entry: entry.endswith(SUFFIX) or entry == LOCALIZED)
    described = [entry for entry in names if entry.endswith(SUFFIX)]
    if not described:
        return False
    skipped.extend(
        f"{tree.path(parts) / other}: its directory is not named {other.removesuffix(SUFFIX)}"
        for other in described
        if other != name + SUFFIX
    )
    if name + SUFFIX not in described:
        return False
    if LOCALIZED in names:
        skipped.append(f"{tree.path(parts)}: localized, an input of the job")
        return False
    return True


def _described(tree: JobTree, product: Product) -> int:
    """The bytes of a product's description and metadata."""
    path = tree.path(product.parts)
    names = [f"{product.id}{SUFFIX}", *([f"{product.id}.met.json"] if product.met is not None else [])]
    return sum((path / name).lstat().st_size for name in names)


def _read_product(tree: JobTree, name: str, parts: tuple[str, ...]) -> Product:
    if not is_text(str(tree.path(parts))):
        raise InvalidProduct(f"{tree.path(parts)!r}: the path is not UTF-8")
    if not _ID.fullmatch(name):
        raise InvalidProduct(f"{tree.path(parts)}: {name[:80]!r} can't be a product's id ({_ID.pattern})")
    raw = tree.read_json((*parts, name + SUFFIX), MAX_DATASET_JSON)
    try:
        DatasetFile.model_validate(raw)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors()[:5]
        )
        raise InvalidProduct(f"{name}{SUFFIX}: {faults}") from error
    met = None
    if tree.entries(parts, f"{name}.met.json".__eq__):
        met = tree.read_json((*parts, f"{name}.met.json"), MAX_MET_JSON)
    return Product(id=name, path=tree.path(parts), parts=parts, dataset=raw, met=met)
