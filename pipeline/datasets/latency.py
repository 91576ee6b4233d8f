"""How long it took until a product was there: `product_provenance` of a job's metrics (spec §4.6)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.datasets.enrichment import instant
from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.recognition import Recognition
from pipeline.datasets.tree import JobTree

#: What a job may add, as `X.prod_prov.json`.
SUFFIX = ".prod_prov.json"
#: bytes: it becomes part of the job's document
_MAX_OWN = 1 << 16
#: All fields that have a meaning.
_PLAIN = frozenset(
    ("product_type", "processing_start_time", "availability_time", "acquisition_start_time", "source_production_time")
) | frozenset(("processing_latency", "total_latency", "ground_system_latency", "access_latency"))


def read_own(tree: JobTree, recognition: Recognition) -> dict[str, Any]:
    """What the job says of a product's times; {} if nothing.

    Raises InvalidProduct if it is no JSON object, or nested too deep.
    """
    product = recognition.product
    name = f"{product.id}{SUFFIX}"
    if not tree.entries(product.parts, name.__eq__):
        return {}
    value = tree.read_json((*product.parts, name), _MAX_OWN)
    for field in _PLAIN & value.keys():
        # the index would refuse the whole job's document for it
        if isinstance(value[field], dict | list):
            raise InvalidProduct(f"{name}: {field} is no plain value")
    return value


def product_provenance(ipath: str, start: datetime, available: datetime, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the times and latencies (minutes) of a product whose job began at `start`; `own` is from its file.

    What the file says counts, but for the latencies that follow from it: with `acquisition_start_time` and
    `source_production_time`, the ground system's and that of access are added to the total. Raises InvalidProduct for
    a time or a latency in the file that is none.
    """
    processing = _minutes(start, available)
    made: dict[str, Any] = {
        "product_type": ipath,
        "processing_start_time": _iso(start),
        "availability_time": _iso(available),
        "processing_latency": processing,
        "total_latency": processing,
        **own,
    }
    if "acquisition_start_time" not in own or "source_production_time" not in own:
        return made
    acquired, produced = _time(own, "acquisition_start_time"), _time(own, "source_production_time")
    made["ground_system_latency"] = _minutes(acquired, produced)
    made["access_latency"] = _minutes(produced, available)
    total = made["total_latency"]
    if isinstance(total, bool) or not isinstance(total, int | float):
        raise InvalidProduct(f"{SUFFIX[1:]}: total_latency {total!r} is no number")
    made["total_latency"] = total + made["ground_system_latency"] + made["access_latency"]
    return made


def _minutes(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 60


def _time(own: Mapping[str, Any], name: str) -> datetime:
    try:
        return instant(own[name])
    except (TypeError, ValueError) as error:
        raise InvalidProduct(f"{SUFFIX[1:]}: {name} {str(own[name])[:80]!r} is no time: {error}") from error


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
