"""From a job's directory to published products: find, recognise, stage all, ask once, show all or none."""

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from pipeline.crash_points import here
from pipeline.datasets.enrichment import instant
from pipeline.datasets.errors import DatasetError, PublishRefused
from pipeline.datasets.extractors import Extractors
from pipeline.datasets.finding import find
from pipeline.datasets.marker import Marker
from pipeline.datasets.recognition import Recognition
from pipeline.datasets.rules import Rules
from pipeline.datasets.staging import Published, Staging
from pipeline.datasets.store import Orphaned, Store, never
from pipeline.datasets.tree import JobTree

T = TypeVar("T")

#: The list of index documents, left in the job directory for people who look there.
DATASETS_FILE = "_datasets.json"


async def publish(
    job_dir: Path,
    document: Mapping[str, Any],
    attempt: int,
    holder: str,
    rules: Rules,
    store: Store,
    ask_permission: Callable[[], Awaitable[bool]],
    hostname: str | None = None,
    extractors: Extractors | None = None,
    orphaned: Orphaned = never,
) -> Published:
    """Publish all products of a job's attempt, or none.

    `document` is the job's: `job_id` and `payload_hash` are needed, `publish_overwrite_ok` (exactly True) allows
    replacing other jobs' products, `localize_urls` tells what they derive from; `orphaned` says which products of
    other jobs may be replaced all the same. Permission is asked once, when all
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
    begun = _begun(document, datetime.now(UTC))
    force = document.get("publish_overwrite_ok") is True
    published, stop = Published(), Stop()
    recognised = await _in_thread(
        lambda: find(
            tree, rules, hostname or socket.gethostname(), extractors or Extractors(), stop.check, published.notes
        ),
        on_cancel=stop.ask,
    )
    if not recognised:
        return published
    publication = await _in_thread(lambda: store.begin(marker, force, orphaned), discard=lambda made: made.close())
    try:
        work = Staging(tree, publication, document, marker, published)
        await _in_thread(lambda: work.stage_all(recognised), on_cancel=publication.stop)
        if not await ask_permission():
            raise PublishRefused(f"job {marker.job_id}, attempt {attempt}: no permission to publish")
        here("worker.permitted")
        await _in_thread(lambda: _commit(work, recognised[-1], begun))
    finally:
        await _in_thread(publication.close)
    return published


class Stop:
    """Ends work in another thread, at its next look."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Make the next `check` raise."""
        self._asked.set()

    def check(self) -> None:
        """Raise PublishRefused if it was asked for."""
        if self._asked.is_set():
            raise PublishRefused("publishing was stopped")


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


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


def _begun(document: Mapping[str, Any], now: datetime) -> datetime:
    """Return when the job's attempt began, as its document says; now where it doesn't."""
    info = document.get("job_info")
    try:
        return instant(info["time_start"]) if isinstance(info, Mapping) else now
    except (KeyError, TypeError, ValueError):
        return now


def _commit(work: Staging, last: Recognition, begun: datetime) -> None:
    work.publication.commit()
    published = work.published
    # what is visible stays so, whatever is wrong with what is only said of it
    try:
        work.available(last, begun)
    except (DatasetError, OSError) as error:
        published.notes.append(f"product_provenance: {error}")
    try:
        _write_documents(work.tree.root, published.documents)
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
