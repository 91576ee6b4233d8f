"""Brings all inputs of a job into its work directory, several at once; the first one that fails ends all."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.containers.threads import in_thread
from pipeline.inputs import download, request
from pipeline.inputs.backends import Backends
from pipeline.inputs.cache import Brought, Cache
from pipeline.inputs.errors import CancelledError, DiskFullError, InputError, NoRoomError, RefusedError
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.limits import Limits
from pipeline.inputs.patience import Patience
from pipeline.inputs.policy import DIRECT, Policy
from pipeline.inputs.remote import RemoteSource
from pipeline.inputs.request import Input
from pipeline.inputs.source import Source
from pipeline.inputs.spool import Spool

log = logging.getLogger(__name__)

#: Seconds between two lines of progress in the log.
_TELL = 10.0
#: Seconds that threads get to notice that nobody waits for them any more.
_LEAVE = 10.0


@dataclass(slots=True)
class Localized:
    """What was brought: entries of `inputs_localized`, the paths that were asked for, and the figures of it all."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class Localizer:
    """Brings inputs; one for all attempts of a worker."""

    def __init__(self, policy: Policy, limits: Limits, cache: Cache | None, backends: Backends) -> None:
        self._policy = policy
        self._limits = limits
        self._cache = cache
        self._backends = backends
        self._http: Any = None
        self._lock = threading.Lock()

    async def localize(self, directory: Path, document: Mapping[str, Any]) -> Localized:
        """Bring what `localize_urls` names; raises InputError.

        When it ends, however it does, nothing is written to the directory any more. A cancelled call ends within
        seconds.
        """
        inputs = request.inputs_of(document)
        if not inputs:
            return Localized()
        run = _Run(self, directory, self._limits)
        name = str(document.get("job_id"))
        try:
            await self._told(asyncio.ensure_future(run.all(inputs)), run, name)
        finally:
            run.end()
            log.info("job %s: inputs: %s", name, run.gauge)
        return run.localized()

    async def _told(self, work: "asyncio.Future[None]", run: "_Run", name: str) -> None:
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_TELL)
                if not work.done():
                    log.info("job %s: inputs: %s", name, run.gauge)
        except asyncio.CancelledError:
            run.patience.cancel()
            await asyncio.wait({work}, timeout=_LEAVE)
            raise
        finally:
            if work.done() and not work.cancelled():
                work.exception()
        work.result()

    def check_host(self, host: str) -> None:
        """Raise RefusedError unless something may be brought from a host for jobs, whoever brings it."""
        one = Input(f"https://{host}/")
        self._policy.check(one)
        self._policy.check_resolved(one)

    def source(self, one: Input) -> Source:
        """Return where an input comes from; raises RefusedError."""
        self._policy.check(one)
        if one.scheme == "file":
            # the very path that was checked: fsspec reads URLs in another way
            return RemoteSource(Input(str(self._policy.local(one))), self._backends)
        if one.scheme not in ("http", "https"):
            if one.scheme in DIRECT:
                self._policy.check_resolved(one)
            return RemoteSource(one, self._backends)
        with self._lock:
            if self._http is None:
                # only who has such inputs pays for what brings them
                from pipeline.inputs.http import HttpClient

                self._http = HttpClient(self._backends, self._policy, self._limits.stall)
        from pipeline.inputs.http import HttpSource

        return HttpSource(one, self._http)

    def put(self, one: Input, target: Path, patience: Patience, gauge: Gauge) -> Brought:
        """Bring one file to a path where nothing is; raises InputError, OSError."""
        source = self.source(one)
        try:
            # what is on this machine already needs no second copy here
            if self._cache is not None and one.cache and one.scheme != "file":
                try:
                    return self._cache.bring(one.url, source, target, patience, gauge)
                except NoRoomError as error:
                    log.info("past the cache: %s", error)
            return self._past_the_cache(source, target, patience, gauge)
        finally:
            source.close()

    def _past_the_cache(self, source: Source, target: Path, patience: Patience, gauge: Gauge) -> Brought:
        target.parent.mkdir(parents=True, exist_ok=True)
        spool = Spool(target.with_name(f".{target.name[:200]}.part"))
        try:
            download.bring(source, spool, None, self._limits, patience, gauge)
            spool.path.chmod(0o644)
            patience.check()
            spool.path.replace(target)
        finally:
            spool.discard()
        return Brought(spool.size)

    def files_of(self, one: Input, most: int) -> dict[str, str] | None:
        """Return the URLs of a directory's files by their paths in it; None for what is a single file."""
        if one.scheme in ("http", "https"):
            return None
        source = self.source(one)
        assert isinstance(source, RemoteSource)
        try:
            if source.info().get("type") != "directory":
                return None
            base = str(self._policy.local(one)) if one.scheme == "file" else one.url.rstrip("/")
            return {name: f"{base}/{name}" for name in source.find(most)}
        finally:
            source.close()


class _Run:
    """One attempt's inputs under way."""

    def __init__(self, owner: Localizer, directory: Path, limits: Limits) -> None:
        self._owner = owner
        self._directory = directory
        self._limits = limits
        self._lock = threading.Lock()
        self._entries: dict[tuple[int, str], dict[str, Any]] = {}
        self._targets: dict[Path, str] = {}
        self._error: BaseException | None = None
        self._queue: deque[tuple[tuple[int, str], Input, Path]] = deque()
        self._paths: list[Path] = []
        self.gauge = Gauge(limits.total)
        self.patience = Patience(limits.seconds)

    async def all(self, inputs: list[Input]) -> None:
        """Bring them; raises the first error, once no thread is at work any more."""
        await self._in_threads(self._expand, deque(enumerate(inputs)))
        await self._in_threads(self._bring, self._queue)

    def localized(self) -> Localized:
        """Return what was brought, in the order of the request."""
        ordered = [entry for _, entry in sorted(self._entries.items(), key=lambda pair: pair[0])]
        return Localized(ordered, self._paths, self.gauge.said())

    def end(self) -> None:
        """Make threads that are still at work leave the directory alone."""
        self.patience.cancel()

    async def _in_threads(self, work: Any, queue: "deque[Any]") -> None:
        def body() -> None:
            while self._error is None:
                try:
                    item = queue.popleft()
                except IndexError:
                    return
                try:
                    work(*item)
                except BaseException as error:
                    self._fail(error)

        threads = min(self._limits.parallel, len(queue))
        await asyncio.gather(*(in_thread(body) for _ in range(threads)))
        if self._error is not None:
            raise self._error

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            # those that leave because of the first one say nothing new
            if self._error is None or isinstance(self._error, CancelledError):
                self._error = error
        self.patience.cancel()

    def _expand(self, number: int, one: Input) -> None:
        self.patience.check()
        files = self._owner.files_of(one, self._limits.files)
        target = request.target(one, self._directory)
        with self._lock:
            self._paths.append(target)
            if files is None:
                self._plan((number, ""), one, target)
            for name, url in sorted((files or {}).items()):
                self._plan((number, name), Input(url, None, one.cache), target / name)
        if files is not None and not files:
            target.mkdir(parents=True, exist_ok=True)

    def _plan(self, key: tuple[int, str], one: Input, target: Path) -> None:
        if target in self._targets:
            raise RefusedError(f"{one.shown}: {self._targets[target]} goes to the same place, {target.name}")
        if len(self._targets) >= self._limits.files:
            raise RefusedError(f"more than {self._limits.files} input files")
        self._targets[target] = one.shown
        self._queue.append((key, one, target))
        self.gauge.expect(1)

    def _bring(self, key: tuple[int, str], one: Input, target: Path) -> None:
        start = datetime.now(UTC)
        patience = self.patience.within(self._limits.file_seconds, one.shown)
        try:
            brought = self._owner.put(one, target, patience, self.gauge)
        except OSError as error:
            kind = DiskFullError if error.errno in (28, 122) else InputError
            raise kind(f"{one.shown}: {error.strerror or error}") from error
        self.gauge.finish(brought.size, brought.cached)
        entry = _entry(one, target.relative_to(self._directory), brought, start)
        with self._lock:
            self._entries[key] = entry


def _entry(one: Input, path: Path, brought: Brought, start: datetime) -> dict[str, Any]:
    """Return an entry of `inputs_localized` (spec §3.2): bytes, seconds, bytes a second."""
    end = datetime.now(UTC)
    seconds = (end - start).total_seconds()
    made: dict[str, Any] = {
        "url": one.shown,
        "path": request.readable(str(path)),
        "disk_usage": brought.size,
        "time_start": _iso(start),
        "time_end": _iso(end),
        "duration": round(seconds, 6),
        "transfer_rate": round(brought.size / seconds, 1) if seconds > 0 else 0.0,
        "cached": brought.cached,
    }
    return made if brought.stale is None else {**made, "stale": round(brought.stale, 1)}


def _iso(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
