"""The index once more from the log, beside the live one, by the sink's own code; and what of the two differs."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from agents.elastic import client_options
from agents.index_reader import IndexUnavailableError
from agents.registry import codec
from agents.sink.announced import Announced
from agents.sink.installer import install
from agents.sink.unavailable import UnavailableError
from agents.sink.writer import Writer
from ops.reading.log import Log
from ops.replaying.reading import Tell, records, silent
from pipeline.codec import DecodeError
from pipeline.index.documents import Plan, plan
from pipeline.index.names import DATASETS, EVENTS, JOBS
from pipeline.messages.fact import Fact
from pipeline.replay.difference import differences
from pipeline.settings import Settings, SinkSettings

#: s that a batch may wait for Elasticsearch
_PATIENCE = 120.0
#: documents that are compared at a time, how long a scroll lives in between, and differences whose fields are kept
_PAGE, _SCROLL, _KEPT = 500, "5m", 100
#: Patterns of the indices behind a prefix.
_PATTERNS = (f"{JOBS}-*", f"{EVENTS}-*", f"{DATASETS}_*")


@dataclass(slots=True)
class Rebuilt:
    """What was written: `documents` counts writes, `refused` what the sink would have put on jobs.dead, by why.

    `is_whole` says that all facts that there ever were have been read.
    """

    is_whole: bool = True
    facts: int = 0
    documents: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Unlike:
    """A document that is another in the live index; `fields` are the paths that differ, none: it isn't there."""

    index: str
    id: str
    fields: tuple[str, ...]


@dataclass(slots=True)
class Compared:
    """The documents of the rebuilt index against the live ones, by kind of index.

    `newer` are live documents of a later fact than any that was read: the installation went on meanwhile.
    `only_live` are documents that no fact tells of; datasets that `jobstream ingest` published are among them.
    """

    equal: Counter[str] = field(default_factory=Counter)
    differ: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    newer: Counter[str] = field(default_factory=Counter)
    only_live: Counter[str] = field(default_factory=Counter)
    unlike: list[Unlike] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether the live index is what the log says; ingested datasets are not in it."""
        strange = sum(count for kind, count in self.only_live.items() if kind != DATASETS)
        return not (self.differ.total() or self.missing.total() or strange)


def rebuild(
    settings: Settings, prefix: str, since: int | None = None, until: int | None = None, tell: Tell = silent
) -> Rebuilt:
    """Write what the facts lead to under another index prefix; repeated, it writes the same.

    Raises BrokerError and IndexUnavailableError where a server doesn't answer for two minutes.
    """
    return asyncio.run(_Rebuilding(settings, prefix, (since, until), tell).run())


def compare(settings: Settings, prefix: str, *, whole: bool, tell: Tell = silent) -> Compared:
    """Compare the indices under `prefix` with the live ones; `whole`: all facts were read, so nothing may be left over.

    Raises IndexUnavailableError.
    """
    return asyncio.run(_Comparing(settings, prefix, tell).run(whole=whole))


class _Rebuilding:
    def __init__(self, settings: Settings, prefix: str, span: tuple[int | None, int | None], tell: Tell) -> None:
        self._settings = settings
        self._sink: SinkSettings = settings.sink.model_copy(update={"index_prefix": prefix})
        self._since, self._until = span
        self._tell = tell
        self._codec = codec(settings)
        self._announced = Announced(settings, self._codec)
        self._rebuilt = Rebuilt()

    async def run(self) -> Rebuilt:
        try:
            async with AsyncElasticsearch(**client_options(self._sink)) as client:
                await _patiently(self._sink, install(client, self._sink))
                writer = Writer(client)
                with Log(self._settings, follows=False) as log:
                    for batch in self._batches(log):
                        await _patiently(self._sink, self._write(writer, batch))
                await _refresh(client, self._sink, self._sink.index_prefix)
        finally:
            self._announced.close()
        return self._rebuilt

    def _batches(self, log: Log) -> Iterator[list[bytes | None]]:
        events = self._settings.topology.events
        batch: list[bytes | None] = []
        for number in range(events.partitions):
            begins, ends = log.bounds(events, number)
            self._rebuilt.is_whole &= begins == 0 and self._since is self._until is None
            if self._since is not None:
                begins = log.since(events, [number], self._since)[number]
            if self._until is not None:
                ends = min(ends, log.since(events, [number], self._until)[number])
            for message in records(log, events, number, begins, ends, self._tell):
                batch.append(message.value())
                if len(batch) >= self._sink.batch:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _write(self, writer: Writer, values: Sequence[bytes | None]) -> None:
        plans = await asyncio.to_thread(lambda: [self._plan(value) for value in values])
        actions = [action for one in plans for action in one.actions]
        refused = await writer.write(actions)
        self._rebuilt.facts += len(values)
        self._rebuilt.documents += len(actions) - len(refused)
        self._rebuilt.refused.update([*(why for one in plans for why in one.refused), *refused.values()])

    def _plan(self, value: bytes | None) -> Plan:
        try:
            return plan(Fact.of(self._codec.decode("fact", value)), self._sink.index_prefix, self._announced)
        except (DecodeError, TypeError, AttributeError) as error:
            return Plan((), (f"not a fact: {error}",))


class _Comparing:
    def __init__(self, settings: Settings, prefix: str, tell: Tell) -> None:
        self._sink = settings.sink
        self._live, self._prefix = settings.sink.index_prefix, prefix
        self._tell = tell
        self._compared = Compared()

    async def run(self, *, whole: bool) -> Compared:
        try:
            async with AsyncElasticsearch(**client_options(self._sink)) as client:
                await _refresh(client, self._sink, self._prefix)
                await _refresh(client, self._sink, self._live)
                async for hits in self._pages(client, self._prefix):
                    await self._against_live(client, hits)
                if whole:
                    async for hits in self._pages(client, self._live):
                        await self._left_over(client, hits)
        except (ApiError, TransportError) as error:
            raise _unavailable(self._sink, error) from error
        return self._compared

    async def _pages(self, client: AsyncElasticsearch, prefix: str) -> AsyncIterator[list[dict[str, Any]]]:
        indices = ",".join(f"{prefix}{pattern}" for pattern in _PATTERNS)
        answer = await client.search(
            index=indices, scroll=_SCROLL, size=_PAGE, sort=["_doc"], version=True, ignore_unavailable=True
        )
        done, total = 0, int(answer["hits"]["total"]["value"])
        try:
            while hits := list(answer["hits"]["hits"]):
                yield hits
                done += len(hits)
                self._tell(f"{prefix or 'live'} documents", done, max(total, done))
                answer = await client.scroll(scroll_id=answer["_scroll_id"], scroll=_SCROLL)
        finally:
            # over no index at all there is none to clear
            with contextlib.suppress(NotFoundError):
                await client.clear_scroll(scroll_id=answer["_scroll_id"])

    async def _against_live(self, client: AsyncElasticsearch, hits: list[dict[str, Any]]) -> None:
        others = await self._same(client, hits, self._prefix, self._live)
        for hit, live in zip(hits, others, strict=True):
            kind = _kind(hit["_index"].removeprefix(self._prefix))
            if not live.get("found"):
                self._compared.missing[kind] += 1
                self._keep(hit, ())
            elif live["_version"] > hit["_version"]:
                self._compared.newer[kind] += 1
            elif (live["_version"], live["_source"]) == (hit["_version"], hit["_source"]):
                self._compared.equal[kind] += 1
            else:
                self._compared.differ[kind] += 1
                fields = [change.path for change in differences(hit["_source"], live["_source"])]
                self._keep(hit, tuple(fields or ["_version"]))

    async def _left_over(self, client: AsyncElasticsearch, hits: list[dict[str, Any]]) -> None:
        others = await self._same(client, hits, self._live, self._prefix)
        for hit, rebuilt in zip(hits, others, strict=True):
            if not rebuilt.get("found"):
                self._compared.only_live[_kind(hit["_index"].removeprefix(self._live))] += 1

    async def _same(
        self, client: AsyncElasticsearch, hits: list[dict[str, Any]], old: str, new: str
    ) -> list[dict[str, Any]]:
        """Return the documents of the same names behind another prefix."""
        docs = [{"_index": new + hit["_index"].removeprefix(old), "_id": hit["_id"]} for hit in hits]
        return list((await client.mget(docs=docs))["docs"])

    def _keep(self, hit: dict[str, Any], fields: tuple[str, ...]) -> None:
        if len(self._compared.unlike) < _KEPT:
            self._compared.unlike.append(Unlike(hit["_index"].removeprefix(self._prefix), hit["_id"], fields))


def _kind(index: str) -> str:
    """Return which of the three kinds an index is of, by its name without prefix."""
    return next(kind for kind in (JOBS, EVENTS, DATASETS) if index.startswith(kind))


async def _refresh(client: AsyncElasticsearch, sink: SinkSettings, prefix: str) -> None:
    """Have all that was written found; raises IndexUnavailableError."""
    try:
        indices = ",".join(f"{prefix}{pattern}" for pattern in _PATTERNS)
        await client.indices.refresh(index=indices, ignore_unavailable=True)
    except (ApiError, TransportError) as error:
        raise _unavailable(sink, error) from error


async def _patiently(sink: SinkSettings, work: Any) -> None:
    """Await what waits for Elasticsearch as long as it takes, and give up where a person would."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE):
            await work
    except (TimeoutError, UnavailableError) as error:
        waited = time.monotonic() - begun
        raise IndexUnavailableError(
            f"Elasticsearch at {_address(sink)} took nothing for {waited:.0f} s: begun anew, this writes the same"
        ) from error


def _unavailable(sink: SinkSettings, error: ApiError | TransportError) -> IndexUnavailableError:
    return IndexUnavailableError(f"Elasticsearch at {_address(sink)}: {error}")


def _address(sink: SinkSettings) -> str:
    return sink.elasticsearch.rpartition("@")[2]
