"""What is indexed about a product, and what a job's report says of it (spec §3.2, §4.4).

The sink indexes the document as it is, under `index_name`, with the product's id as its own.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.datasets.discovery import IndexChoice, Product
from pipeline.datasets.enrichment import enriched
from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.provenance import inputs
from pipeline.datasets.recognition import Recognition
from pipeline.datasets.rules import Browse
from pipeline.datasets.tree import is_text

#: Every index of datasets begins so, whatever the product asks for: a product can't reach another index.
INDEX_PREFIX = "grq_"
_BROWSE = "browse.png"
_SMALL = "browse_small.png"
#: What a product can't say about itself in dataset.json, because it is decided here.
_DECIDED = frozenset(
    {"id", "objectid", "metadata", "dataset", "ipath", "urls", "browse_urls", "images", "prov", "index"}
)
_UNFIT = re.compile(r"[^a-z0-9_.-]+")


def is_browse_image(inside: tuple[str, ...]) -> bool:
    """Whether a file directly inside a product is a browse image, large or small."""
    return len(inside) == 1 and inside[0].endswith((_BROWSE, _SMALL))


def images(names: Iterable[str], browse: Browse | None) -> list[dict[str, str | None]]:
    """The browse images among a product's files: `{img, small_img | None, tooltip}`.

    Sorted by the first pattern of `sort_order` that matches, then by name; unmatched ones last.
    """
    known = set(names)
    order = [re.compile(pattern) for pattern in browse.sort_order] if browse else []

    def rank(name: str) -> tuple[int, str]:
        return next((i for i, pattern in enumerate(order) if pattern.search(name)), len(order)), name

    return [
        {
            "img": name,
            "small_img": small if (small := name.removesuffix(_BROWSE) + _SMALL) in known else None,
            "tooltip": name.removesuffix(_BROWSE).rstrip("._-") or name,
        }
        for name in sorted((name for name in known if name.endswith(_BROWSE) and is_text(name)), key=rank)
    ]


def index_choice(recognition: Recognition) -> IndexChoice:
    """Where the document goes: what the product says wins over what the rule says."""
    own = recognition.product.dataset.get("index")
    if own is not None:
        return IndexChoice.model_validate(own)
    return recognition.rule.index or IndexChoice()


def index_name(recognition: Recognition) -> str:
    """`grq_<suffix>`, or `grq_<version>_<dataset>` in lower case. Raises InvalidProduct if that is too long."""
    suffix = index_choice(recognition).suffix or f"{recognition.version}_{recognition.rule.dataset}".lower()
    name = INDEX_PREFIX + _UNFIT.sub("-", suffix)
    if len(name) > 250:
        raise InvalidProduct(f"{recognition.product.id}: index name of {len(name)} characters; at most 250")
    return name


def index_document(
    recognition: Recognition,
    names: Iterable[str],
    urls: list[str],
    browse_urls: list[str],
    prov: Mapping[str, Any],
) -> dict[str, Any]:
    """The document of a product: everything that dataset.json says, under what was decided about it."""
    product, rule = recognition.product, recognition.rule
    described = {key: value for key, value in product.dataset.items() if key not in _DECIDED}
    document: dict[str, Any] = {
        "system_version": recognition.version,
        "dataset_level": str(recognition.values["level"]),
        "dataset_type": str(recognition.values["type"]),
        **described,
        **enriched(product.dataset),
        "id": product.id,
        "objectid": product.id,
        "metadata": product.met or {},
        "dataset": rule.dataset,
        "ipath": rule.ipath,
        "urls": urls,
        "browse_urls": browse_urls,
        "images": images(names, rule.browse),
        "prov": dict(prov),
    }
    choice = index_choice(recognition)
    if choice.suffix or choice.aliases:
        document["index"] = choice.model_dump(exclude_none=True)
    return document


def provenance(job: Mapping[str, Any], attempt: int) -> dict[str, list[str]]:
    """Which attempt of which job made the products, and from which inputs (URLs without what is secret in them)."""
    return {
        "wasGeneratedBy": [f"job:{job['job_id']}/{attempt}"],
        "wasDerivedFrom": [f"url:{url}" for url in inputs(job)],
    }


def staged_entry(
    recognition: Recognition, document: Mapping[str, Any], size: int, start: datetime, end: datetime
) -> dict[str, Any]:
    """The product's entry in `products_staged`: sizes in bytes, times in UTC, duration in seconds, rate in bytes/s."""
    duration = max((end - start).total_seconds(), 0.0)
    product: Product = recognition.product
    copied = ("id", "urls", "browse_urls", "dataset", "ipath", "system_version", "dataset_level", "dataset_type")
    return {
        "path": str(Path(product.path)),
        "disk_usage": size,
        "time_start": start.isoformat().replace("+00:00", "Z"),
        "time_end": end.isoformat().replace("+00:00", "Z"),
        "duration": duration,
        "transfer_rate": size / duration if duration else float(size),
        **{key: document[key] for key in copied},
        "index": index_name(recognition),
    }
