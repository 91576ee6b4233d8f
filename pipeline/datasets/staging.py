"""Staging recognised products, each with what goes along with it, and describing them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline.datasets import documents, latency
from pipeline.datasets.finding import SEED
from pipeline.datasets.marker import Marker
from pipeline.datasets.provenance import PUBLISHED as PROV
from pipeline.datasets.provenance import prov_document, read_own
from pipeline.datasets.recognition import Recognition
from pipeline.datasets.store import Publication, Wanted
from pipeline.datasets.tree import JobTree

#: bytes of `_context.json` that go along with a product
_MAX_CONTEXT = 16 << 20


@dataclass(frozen=True)
class Published:
    """What was published, in the order of the products' paths; `notes` are sentences for the log.

    `provenance` is `product_provenance` of the last product, filled once it is there (spec §4.6).
    """

    products_staged: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Staging:
    """Stages the products of one job's directory; `job` is the job's document."""

    tree: JobTree
    publication: Publication
    job: Mapping[str, Any]
    marker: Marker
    published: Published

    def stage_all(self, recognised: list[Recognition]) -> None:
        """Stage all; fills `published`. Raises as `Publication.stage`, and InvalidProduct."""
        context = _context(self.tree)
        prov = documents.provenance(self.job, self.marker.attempt)
        for recognition in recognised:
            start = datetime.now(UTC)
            own = latency.read_own(self.tree, recognition)
            # what is wrong with its file is said before anything is visible
            latency.product_provenance(recognition.rule.ipath, start, start, own)
            urls, browse_urls, size = self._stage(recognition, context)
            names = self.tree.entries(recognition.product.parts)
            made = documents.index_document(recognition, names, urls, browse_urls, prov)
            entry = documents.staged_entry(recognition, made, size, start, datetime.now(UTC))
            self.published.documents.append(made)
            self.published.products_staged.append(entry)

    def available(self, last: Recognition, begun: datetime) -> None:
        """Note how long it took until the last product was there, which is now, from the time that the job began."""
        own = latency.read_own(self.tree, last)
        self.published.provenance.update(latency.product_provenance(last.rule.ipath, begun, datetime.now(UTC), own))

    def _stage(self, recognition: Recognition, context: bytes | None) -> tuple[list[str], list[str], int]:
        """Stage one product, and its browse images where they have a place of their own.

        Returns (urls, browse urls, bytes). A rule without `publish` publishes nothing: the product is only
        indexed, without URLs.
        """
        product, rule = recognition.product, recognition.rule
        urls, location, size = [], None, 0
        if rule.publish is not None:
            location = recognition.fill(rule.publish.location)
            extra = self._extra(recognition, location, context)
            size += self.publication.stage(self.tree, product.parts, location, extra, _wanted(recognition))
            urls = self._urls(recognition, rule.publish.urls, location)
        if rule.browse is None:
            return urls, [], size
        if rule.browse.location is not None:
            location = recognition.fill(rule.browse.location)
            size += self.publication.stage(self.tree, product.parts, location, {}, documents.is_browse_image)
        return urls, self._urls(recognition, rule.browse.urls, location), size

    def _urls(self, recognition: Recognition, wanted: list[str], location: str | None) -> list[str]:
        if location is None:
            return [recognition.fill(url, location="", path="") for url in wanted]
        address = self.publication.address(location)
        return [recognition.fill(url, location=address.url, path=address.path) for url in wanted]

    def _extra(self, recognition: Recognition, location: str, context: bytes | None) -> dict[str, bytes]:
        """The files that a product is published with and that the job did not write."""
        product = recognition.product
        # it names the place where the product is meant to be, not the one where its files are being put
        places = [location]
        prov = prov_document(
            recognition, self.job, self.marker, places, datetime.now(UTC), read_own(self.tree, recognition)
        )
        extra = {PROV: orjson.dumps(prov, option=orjson.OPT_INDENT_2)}
        if context is not None:
            extra[f"{product.id}.context.json"] = context
        if product.extracted:
            extra[f"{product.id}.met.json"] = orjson.dumps(product.met, option=orjson.OPT_INDENT_2)
        return extra


def _wanted(recognition: Recognition) -> Wanted | None:
    """Everything, but for the seed of the metadata where they were made from it."""
    return (lambda path: path != (SEED,)) if recognition.product.extracted else None


def _context(tree: JobTree) -> bytes | None:
    """The job's context, which goes along with each product; None if the job has none."""
    if not tree.entries((), "_context.json".__eq__):
        return None
    return tree.read(("_context.json",), _MAX_CONTEXT)
