"""Makes images known to an engine: from the archives that jobs name, each once, whoever else wants it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.containers.base import Engine
from pipeline.containers.errors import EngineError, UnavailableError
from pipeline.containers.threads import in_thread
from pipeline.images import keeping
from pipeline.images.errors import ImageError
from pipeline.images.shelf import Loaded, Shelf, Use
from pipeline.images.wanted import Wanted, reference
from pipeline.inputs import checksums
from pipeline.inputs.errors import InputError
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.localize import Localizer
from pipeline.inputs.patience import Patience
from pipeline.inputs.request import Input

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds between two lines of progress in the log, and that a thread gets to notice that nobody waits for it.
_TELL, _LEAVE = 10.0, 10.0
#: Seconds between two looks at whether another one is done: first, and at most.
_FIRST, _LONGEST = 0.05, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`seconds` that all images of an attempt may take, `size` in bytes of an archive; whether one needs a digest."""

    seconds: float = 3000.0
    size: int = 100 << 30
    need_digest: bool = False
    #: Where images are pulled from; None: from nowhere.
    registry: str | None = None
    #: Bytes of loaded images that stay in the engine; 0: all.
    keep: int = 0


class Supply:
    """One for all attempts of a worker; `folder` is shared with all workers that use the same engine."""

    def __init__(self, engine: Engine, folder: Path, localizer: Localizer, terms: Terms) -> None:
        self._engine = engine
        self._folder = folder
        self._localizer = localizer
        self._terms = terms
        self._going_on: set[asyncio.Future[Any]] = set()

    async def bring(self, job: str, images: Sequence[Mapping[str, Any]], uses: list[Use]) -> list[dict[str, Any]]:
        """Make images known, one after the other, and say of each its `name` and `id`.

        None of them is removed until what is added to `uses` is closed.

        Each is the container fields of a job, or an entry of its `dependency_images`. One that had to be brought has
        `loaded`, `bytes` (of its archive), `sha256` and `duration` (s) too. Raises ImageError, UnavailableError where
        it's the engine's fault. A cancelled call ends within seconds.
        """
        wanted = [Wanted.of(fields) for fields in images]
        try:
            async with asyncio.timeout(self._terms.seconds):
                return [await self._present(one, job, uses) for one in wanted]
        except TimeoutError as error:
            names = ", ".join(one.name for one in wanted)
            raise ImageError(f"image {names}: not there in {self._terms.seconds:g} s") from error

    async def sweep(self) -> None:
        """Remove what is too much, and what was forgotten; what can't be removed stays."""
        await keeping.sweep(self._engine, self._folder, self._terms.keep)

    async def _present(self, wanted: Wanted, job: str, uses: list[Use]) -> dict[str, Any]:
        began, start = time.time(), time.monotonic()
        shelf = Shelf.of(self._folder, self._engine.store, wanted.name)
        try:
            uses.append(await _patiently(shelf.use))
            if found := await self._known(wanted, shelf):
                return {"name": wanted.name, "id": found}
            self._check(wanted)
            await self._claim(shelf, wanted, job)
            if found := await self._known(wanted, shelf):
                return {**_entry(wanted, found, start), "waited": True}
            if failed := shelf.failed_since(wanted, began):
                raise ImageError(failed)
            made = await self._brought(wanted, shelf, job, start)
        except OSError as error:
            raise ImageError(f"image {wanted.name}: {error.strerror or error}") from error
        finally:
            shelf.release()
        await self.sweep()
        return made

    async def _known(self, wanted: Wanted, shelf: Shelf) -> str | None:
        """Return the id of an image that is there; None too where it was loaded from another archive than is wanted."""
        try:
            found = await self._engine.image_id(wanted.name)
        except UnavailableError:
            raise
        except EngineError:
            return None
        loaded = shelf.loaded
        if found and wanted.sha256 and loaded and loaded.image_id == found and loaded.sha256 != wanted.sha256:
            log.warning("image %s was loaded from another archive than a job wants now", wanted.name)
            return None
        return found

    def _check(self, wanted: Wanted) -> None:
        if self._pulls(wanted):
            return
        if wanted.url is None:
            raise ImageError(
                f"container image {wanted.name} isn't on this machine, and the job doesn't say where it is: give the"
                f" URL of its archive in container_image_url (or container_image_urls), or load it into the"
                f" {self._engine.name} engine of the worker"
            )
        self._check_url(wanted)

    def _check_url(self, wanted: Wanted) -> None:
        if self._terms.need_digest and wanted.sha256 is None:
            raise ImageError(f"image {wanted.name}: this worker loads none without a digest: add #sha256=… to its URL")

    def _pulls(self, wanted: Wanted) -> bool:
        """Say whether an image may come from a registry: not where the digest of an archive is wanted."""
        pinned = not self._terms.need_digest or "@sha256:" in wanted.name
        return bool(self._terms.registry) and wanted.sha256 is None and pinned

    async def _claim(self, shelf: Shelf, wanted: Wanted, job: str) -> None:
        if not shelf.claim():
            log.info("job %s: image %s: another one brings it, waiting", job, wanted.name)
            await _patiently(shelf.claim)

    async def _brought(self, wanted: Wanted, shelf: Shelf, job: str, start: float) -> dict[str, Any]:
        try:
            how = await self._pulled(wanted, shelf, job) if self._pulls(wanted) else None
            how = how or await self._loaded(wanted, shelf, job)
        except UnavailableError:
            raise
        except (ImageError, EngineError) as error:
            shelf.note_failed(wanted, str(error))
            raise ImageError(str(error)) from error
        made = {**_entry(wanted, how.pop("id"), start), **how}
        log.info("job %s: image %s: %s in %.1f s", job, wanted.name, made["id"], made["duration"])
        return made

    async def _pulled(self, wanted: Wanted, shelf: Shelf, job: str) -> dict[str, Any] | None:
        """Pull an image; None where that failed and there is a URL besides. Raises ImageError, UnavailableError."""
        name = reference(wanted.name, str(self._terms.registry))
        try:
            await self._check_registry(name)
            pulling = self._made(self._engine.pull(name, wanted.name), wanted, shelf)
            return {"id": await self._undisturbed(pulling, shelf, f"job {job}: pulling {name}"), "pulled": name}
        except UnavailableError:
            raise
        except (InputError, EngineError) as error:
            if wanted.url is None:
                said = f"container image {wanted.name} isn't on this machine, and can't be pulled: {error}"
                raise ImageError(said) from error
            log.warning("job %s: %s can't be pulled: %s", job, name, error)
            self._check_url(wanted)
            return None

    async def _check_registry(self, name: str) -> None:
        """Raise InputError where a job names a registry that is neither the worker's nor one that jobs may reach."""
        host = name.partition("/")[0]
        if host != str(self._terms.registry).partition("/")[0]:
            await in_thread(self._localizer.check_host, host)

    async def _loaded(self, wanted: Wanted, shelf: Shelf, job: str) -> dict[str, Any]:
        size, sha256 = await self._fetched(wanted, shelf.archive, job)
        said = f"job {job}: image {wanted.name}: loading {size / (1 << 20):.1f} MiB"
        loading = self._made(self._engine.load(shelf.archive, wanted.name), wanted, shelf, size, sha256)
        return {
            "id": await self._undisturbed(loading, shelf, said),
            "loaded": True,
            "bytes": size,
            "sha256": sha256,
        }

    async def _made(
        self, act: Coroutine[Any, Any, None], wanted: Wanted, shelf: Shelf, archive: int = 0, sha256: str = ""
    ) -> str:
        """Have the engine do it, tell others, and return the image's id."""
        engine = self._engine
        await act
        image_id = str(await engine.image_id(wanted.name))
        size = await engine.size(wanted.name) or archive
        shelf.note_loaded(Loaded(store=engine.store, name=wanted.name, image_id=image_id, sha256=sha256, size=size))
        return image_id

    async def _undisturbed(self, work: Coroutine[Any, Any, T], shelf: Shelf, said: str) -> T:
        """Wait for what an engine can't be told to stop; if nobody waits any more it goes on, and keeps the claim."""
        doing, start = asyncio.ensure_future(work), time.monotonic()
        log.info("%s", said)
        try:
            while not doing.done():
                await asyncio.wait({doing}, timeout=_TELL)
                if not doing.done():
                    log.info("%s: %.0f s", said, time.monotonic() - start)
            return doing.result()
        finally:
            if not doing.done():
                mine = shelf.handed_over()
                self._going_on.add(doing)
                doing.add_done_callback(lambda _: self._let_go(doing, mine))

    def _let_go(self, done: "asyncio.Future[Any]", shelf: Shelf) -> None:
        self._going_on.discard(done)
        if not done.cancelled():
            done.exception()
        shelf.release()

    async def _fetched(self, wanted: Wanted, target: Path, job: str) -> tuple[int, str]:
        """Bring the archive; return its bytes and its digest. Raises ImageError."""
        one = Input(str(wanted.url))
        gauge = Gauge(self._terms.size, "it has")
        patience = Patience(self._terms.seconds, one.shown)
        log.info("job %s: image %s: bringing %s", job, wanted.name, one.shown)
        work = asyncio.ensure_future(in_thread(self._fetch, one, target, patience, gauge))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_TELL)
                if not work.done():
                    log.info("job %s: image %s: %s", job, wanted.name, gauge)
        except asyncio.CancelledError:
            patience.cancel()
            await asyncio.wait({work}, timeout=_LEAVE)
            raise
        finally:
            if work.done() and not work.cancelled():
                work.exception()
        try:
            size, sha256 = work.result()
        except (InputError, OSError) as error:
            raise ImageError(f"image {wanted.name}: {getattr(error, 'strerror', None) or error}") from error
        if wanted.sha256 is not None and sha256 != wanted.sha256:
            said = f"{one.shown} has the SHA-256 {sha256}, and {wanted.sha256} is wanted: not loaded"
            raise ImageError(f"image {wanted.name}: {said}")
        return size, sha256

    def _fetch(self, one: Input, target: Path, patience: Patience, gauge: Gauge) -> tuple[int, str]:
        brought = self._localizer.put(one, target, patience, gauge)
        return brought.size, checksums.digest(target, "sha256", patience)


async def _patiently(attempt: Callable[[], T | None]) -> T:
    """Try again until it gives something."""
    pause = _FIRST
    while True:
        if got := attempt():
            return got
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST)


def _entry(wanted: Wanted, image_id: str, start: float) -> dict[str, Any]:
    return {"name": wanted.name, "id": image_id, "duration": round(time.monotonic() - start, 3)}
