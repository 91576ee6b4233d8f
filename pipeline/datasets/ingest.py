"""Products that no job made: a directory's, published all or none (spec §4.6).

An ingest is a job of its own in the store's eyes. Its id follows from the places that it takes, and its attempt from
the time, so that running it again after it was killed first takes back what that one left.
"""

import hashlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.datasets.documents import index_name
from pipeline.datasets.errors import Collision, InvalidProduct
from pipeline.datasets.extractors import Extractors
from pipeline.datasets.finding import find
from pipeline.datasets.marker import Marker
from pipeline.datasets.recognition import Recognition
from pipeline.datasets.rules import Rules
from pipeline.datasets.staging import Published, Staging
from pipeline.datasets.store import Orphaned, Store, never
from pipeline.datasets.tree import JobTree
from pipeline.datasets.walk import walk

PREFIX = "ingest-"

#: Told what was published, when it is visible and can still be taken back; what it raises takes all back.
Then = Callable[[Sequence[Mapping[str, Any]], Marker], None]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One product and what an ingest would do with it; `locations` are where files go, none if it is only indexed."""

    recognition: Recognition
    locations: tuple[str, ...]
    index: str
    files: int
    size: int

    @property
    def id(self) -> str:
        """The product's id."""
        return self.recognition.product.id


@dataclass(frozen=True)
class Ingest:
    """What is to be published of one directory: a product, or a directory that has some below it."""

    tree: JobTree
    products: list[Planned]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, directory: Path, rules: Rules, extractors: Extractors) -> "Ingest":
        """Find and recognise the products of a directory, changing nothing.

        Raises InvalidProduct, also where there is none; NotRecognised; FileNotFoundError, NotADirectoryError.
        """
        tree, notes = JobTree(directory), list[str]()
        found = find(tree, rules, socket.gethostname(), extractors, lambda: None, notes)
        if not found:
            raise InvalidProduct(f"{directory}: no product in it (X/X.dataset.json)" + "".join(f"; {n}" for n in notes))
        return cls(tree, [_planned(tree, one) for one in found], notes)

    @property
    def job_id(self) -> str:
        """The id under which it publishes: the same for the same products and places."""
        places = sorted(f"{one.id} {' '.join(one.locations)}" for one in self.products)
        return PREFIX + hashlib.sha256("\n".join(places).encode()).hexdigest()[:20]

    def taken(self, store: Store) -> dict[str, Marker]:
        """Whose products are visible at the locations."""
        owners = ((place, store.owner(place)) for one in self.products for place in one.locations)
        return {place: owner for place, owner in owners if owner is not None}

    def publish(self, store: Store, then: Then, force: bool = False, orphaned: Orphaned = never) -> Published:
        """Publish all products, or none. Without `force` no product is replaced, its own earlier ones neither.

        Raises Collision where a place is taken, and as `Publication.stage` and `commit`; then everything is as before.
        """
        now = datetime.now(UTC)
        marker = Marker(
            job_id=self.job_id,
            attempt=time.time_ns() // 1_000_000,
            holder=f"ingest@{socket.gethostname()}",
            payload_hash=self.job_id.removeprefix(PREFIX),
            time=now.isoformat().replace("+00:00", "Z"),
        )
        published = Published()
        published.notes.extend(self.notes)
        with store.begin(marker, force, orphaned) as publication:
            if not force:
                self._check_free(store, orphaned)
            job = {"job_id": marker.job_id, "type": "ingest"}
            Staging(self.tree, publication, job, marker, published).stage_all(
                [one.recognition for one in self.products]
            )
            publication.commit(lambda: then(published.documents, marker))
        return published

    def _check_free(self, store: Store, orphaned: Orphaned) -> None:
        for place, owner in self.taken(store).items():
            if owner.job_id == self.job_id or not orphaned(owner):
                raise Collision(f"{place}: published by job {owner.job_id} at {owner.time}", owner=owner.job_id)


def _planned(tree: JobTree, recognition: Recognition) -> Planned:
    rule = recognition.rule
    templates = [part.location for part in (rule.publish, rule.browse) if part is not None and part.location]
    sizes = [
        tree.path(entry.parts).stat().st_size
        for entry in walk(tree, recognition.product.parts, lambda _inside: True)
        if not entry.is_directory
    ]
    return Planned(
        recognition=recognition,
        locations=tuple(recognition.fill(template) for template in templates),
        index=index_name(recognition),
        files=len(sizes),
        size=sum(sizes),
    )
