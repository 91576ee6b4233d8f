"""From a job's directory to published products: find, recognise, stage all, ask once, show all or none."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from pipeline.datasets import documents
from pipeline.datasets.discovery import discover
from pipeline.datasets.errors import InvalidProduct, PublishRefused
from pipeline.datasets.marker import Marker
from pipeline.datasets.recognition import Recognition, recognise
from pipeline.datasets.rules import Rules
from pipeline.datasets.store import Publication, Store
from pipeline.datasets.tree import JobTree

T = TypeVar("T")

#: The list of index documents, left in the job directory for people who look there.
DATASETS_FILE = "_datasets.json"
#: bytes of `_context.json` that go along with a product
_MAX_CONTEXT = 16 << 20


@dataclass(frozen=True)
class Published:
    """What was published, in the order of the products' paths; `notes` are sentences for the log."""

    products_staged: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def publish(
    job_dir: Path,
    document: Mapping[str, Any],
    attempt: int,
    holder: str,
    rules: Rules,
    store: Store,
    ask_permission: Callable[[], Awaitable[bool]],
    hostname: str | None = None,
) -> Published:
    """Publish all products of a job's attempt, or none.

    `document` is the job's: `job_id` and `payload_hash` are needed, `publish_overwrite_ok` (exactly True) allows
    replacing other jobs' products, `localize_urls` tells what they derive from. Permission is asked once, when all
    is staged, and not at all if there is nothing to publish. Raises a `DatasetError` or OSError, after which nothing
    of this attempt is visible. Cancelled while staging or asking: likewise. Cancelled once permission is given:
    the products become visible all the same, then the cancellation goes on.
    """
    tree = JobTree(job_dir)
    marker = Marker(
        job_id=document["job_id"],
        attempt=attempt,
        holder=holder,
        payload_hash=document["payload_hash"],
        time=_iso(datetime.now(UTC)),
    )
    force = document.get("publish_overwrite_ok") is True
    published = Published()
    recognised = await _in_thread(lambda: _find(tree, rules, hostname or socket.gethostname(), published))
    if not recognised:
        return published
    publication = await _in_thread(lambda: store.begin(marker, force), discard=lambda made: made.close())
    try:
        work = _Staging(tree, publication, store, documents.provenance(document, attempt), published)
        await _in_thread(lambda: work.stage_all(recognised), on_cancel=publication.stop)
        if not await ask_permission():
            raise PublishRefused(f"job {marker.job_id}, attempt {attempt}: no permission to publish")
        await _in_thread(lambda: _commit(tree, publication, published))
    finally:
        await _in_thread(publication.close)
    return published


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _find(tree: JobTree, rules: Rules, hostname: str, published: Published) -> list[Recognition]:
    found = discover(tree)
    published.notes.extend(found.skipped)
    return [recognise(product, tree.entries(product.parts), rules, hostname) for product in found.products]


async def _in_thread(
    work: Callable[[], T],
    on_cancel: Callable[[], None] = lambda: None,
    discard: Callable[[T], None] = lambda _result: None,
) -> T:
    """Run `work` in a thread and never leave it running: a cancellation is raised when it has ended.

    `on_cancel` asks it to end soon; `discard` takes the result that nobody waits for any more.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            on_cancel()
    if cancelled is None:
        return task.result()
    if task.exception() is None:
        discard(task.result())
    raise cancelled


@dataclass(frozen=True)
class _Staging:
    tree: JobTree
    publication: Publication
    store: Store
    prov: Mapping[str, Any]
    published: Published

    def stage_all(self, recognised: list[Recognition]) -> None:
        context = _context(self.tree)
        for recognition in recognised:
            start = datetime.now(UTC)
            urls, browse_urls, size = self._stage(recognition, context)
            names = self.tree.entries(recognition.product.parts)
            made = documents.index_document(recognition, names, urls, browse_urls, self.prov)
            entry = documents.staged_entry(recognition, made, size, start, datetime.now(UTC))
            self.published.documents.append(made)
            self.published.products_staged.append(entry)

    def _stage(self, recognition: Recognition, context: bytes | None) -> tuple[list[str], list[str], int]:
        """Stage one product, and its browse images where they have a place of their own.

        Returns (urls, browse urls, bytes). A rule without `publish` publishes nothing: the product is only
        indexed, without URLs.
        """
        product, rule = recognition.product, recognition.rule
        if rule.extractor and product.met is None:
            raise InvalidProduct(f"{product.id}: no {product.id}.met.json, and extractors don't run here")
        urls, location, size = [], "", 0
        if rule.publish is not None:
            location = recognition.fill(rule.publish.location)
            extra = {f"{product.id}.context.json": context} if context is not None else {}
            urls = [recognition.fill(url, location=self.store.url(location)) for url in rule.publish.urls]
            size += self.publication.stage(self.tree, product.parts, location, extra)
        if rule.browse is None:
            return urls, [], size
        if rule.browse.location is not None:
            location = recognition.fill(rule.browse.location)
            size += self.publication.stage(self.tree, product.parts, location, {}, documents.is_browse_image)
        place = self.store.url(location) if location else ""
        return urls, [recognition.fill(url, location=place) for url in rule.browse.urls], size


def _commit(tree: JobTree, publication: Publication, published: Published) -> None:
    publication.commit()
    try:
        _write_documents(tree.root, published.documents)
    except OSError as error:
        published.notes.append(f"{DATASETS_FILE} was not written: {error}")


def _write_documents(job_dir: Path, made: list[dict[str, Any]]) -> None:
    """Replace the file by a rename, so that a link which the job left in its place is not followed."""
    temporary = job_dir / f".{DATASETS_FILE}.{os.getpid()}.new"
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(orjson.dumps(made, option=orjson.OPT_INDENT_2))
    temporary.replace(job_dir / DATASETS_FILE)


def _context(tree: JobTree) -> bytes | None:
    """The job's context, which goes along with each product; None if the job has none."""
    if "_context.json" not in tree.entries(()):
        return None
    return tree.read(("_context.json",), _MAX_CONTEXT)
