"""The built-in post-processor that keeps what is needed to see why a job failed (spec §4.7)."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.containers.threads import in_thread
from pipeline.datasets.errors import PublishRefused
from pipeline.datasets.publisher import publish
from pipeline.datasets.rules import Publish, Rule, Rules
from pipeline.datasets.store import Store
from pipeline.datasets.tree import JobTree
from pipeline.processors.processor import ProcessorError, Said
from pipeline.triage.copying import Taking, globs
from pipeline.triage.identity import triage_id
from pipeline.work import files

log = logging.getLogger(__name__)

#: Where the dataset's own description is left for people who look into the job's directory.
TRIAGED = "_triaged.json"
#: What a triage dataset is where the operator's rules don't know it.
RULE = Rule(
    ipath="jobstream::data/triaged_job",
    match_pattern=r"/(?P<id>[^/]+)$",
    level="l0",
    type="triaged_job",
    publish=Publish(location="triaged_job/{version}/{id}", urls=["{location}"]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where triage datasets go, and how large they may be: `budget` in bytes.

    `partition` is a strftime format that is part of their index's name; None: they share one.
    """

    rules: Rules
    store: Store
    budget: int
    partition: str | None = None


@dataclass(slots=True)
class Triage:
    """See Processor: makes a failed job's dataset, and publishes it over what may be there, with permission.

    `staged` and `documents` are what was published: entries of `products_staged`, and what is indexed.
    """

    shelf: Shelf | None
    attempt: int
    holder: str
    may_publish: Callable[[], Awaitable[bool]]
    name: str = "triage"
    staged: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, directory: Path, job: Mapping[str, Any], context: Mapping[str, Any]) -> Said:
        """See Processor; does nothing for a job that succeeded or whose context has `_triage_disabled`."""
        said, info = Said(True, context), job.get("job_info") or {}
        # one that failed early has no context yet; what it would have been made of says the same
        context = {**(job.get("context") or {}), **(job.get("params") or {}), **context}
        if info.get("status") == 0 or context.get("_triage_disabled"):
            return said
        if self.shelf is None:
            raise ProcessorError("this worker has no datasets_file: it publishes nothing")
        made = directory / triage_id(job, context)
        await self._make(made, job, context)
        rules = Rules(datasets=[*self.shelf.rules.datasets, RULE])
        document = {**job, "publish_overwrite_ok": True}
        published = await publish(made, document, self.attempt, self.holder, rules, self.shelf.store, self.may_publish)
        self.staged.extend(published.products_staged)
        self.documents.extend(published.documents)
        await in_thread(files.write_json, directory / TRIAGED, published.documents)
        return said

    async def _make(self, made: Path, job: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        unwanted = threading.Event()

        def check() -> None:
            if unwanted.is_set():
                raise PublishRefused("triage was stopped")

        making = asyncio.ensure_future(in_thread(self._fill, made, job, context, check))
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            unwanted.set()
            await asyncio.wait({making})
            raise

    def _fill(self, made: Path, job: Mapping[str, Any], context: Mapping[str, Any], check: Callable[[], None]) -> None:
        assert self.shelf is not None
        try:
            made.mkdir()
        except FileExistsError as error:
            raise ProcessorError(f"the job left something named {made.name}") from error
        files.write_json(made / f"{made.name}.dataset.json", described(made.name, job, self.shelf.partition))
        files.write_json(made / f"{made.name}.met.json", job.get("job_info") or {})
        taking = Taking(JobTree(made.parent), made, self.shelf.budget, check)
        taking.take(globs(context.get("_triage_additional_globs")))
        for sentence in taking.left[:20]:
            log.info("%s: left out: %s", made.name, sentence)


def described(name: str, job: Mapping[str, Any], partition: str | None = None) -> dict[str, Any]:
    """Return the dataset's `dataset.json`; times of the command where it was run."""
    version, info = f"v{__version__}", job.get("job_info") or {}
    times = {"starttime": info.get("cmd_start"), "endtime": info.get("cmd_end")}
    made: dict[str, Any] = {"version": version, "label": name, **{key: at for key, at in times.items() if at}}
    if partition:
        made["index"] = {"suffix": f"{version}_{datetime.now(UTC).strftime(partition)}_triaged_job".lower()}
    return made
