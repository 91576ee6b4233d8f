"""Work by an engine: the life cycle of `pipeline.work`, with inputs before and products after it."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agents.orphans import Orphans
from agents.stores import product_store
from agents.worker.cloud import Cloud
from agents.worker.images import Images
from agents.worker.logs import LogShipper
from agents.worker.preparing import Preparing
from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.containers.factory import EngineSettings, engine
from pipeline.containers.stop import Stop
from pipeline.containers.threads import in_thread
from pipeline.datasets import rules as dataset_rules
from pipeline.datasets.errors import DatasetError
from pipeline.datasets.extractors import Extractors
from pipeline.datasets.publisher import publish
from pipeline.datasets.rules import Rules
from pipeline.datasets.staging import Published
from pipeline.datasets.store import Orphaned, Store
from pipeline.identity import task_id
from pipeline.secrets import Vault
from pipeline.settings import Settings
from pipeline.triage.triage import Shelf as TriageShelf
from pipeline.triage.triage import Triage
from pipeline.work.attempt import run_attempt
from pipeline.work.directory import WorkRoot
from pipeline.work.facts import host_facts
from pipeline.work.place import Place
from pipeline.work.worker_config import JobWorkerConfig

log = logging.getLogger(__name__)

#: Seconds after which a publication that did not end is taken for dead: longer than any may take.
_STAGING_KEPT = 7 * 86_400.0


class EngineWork:
    """Runs attempts in the engine that the settings name."""

    def __init__(self, settings: Settings, holder: str, cloud: Cloud | None = None) -> None:
        """Read the configuration files; raises ValueError for one that is wrong, OSError for directories.

        `cloud` is what else is known of the machine, looked at before each attempt.
        """
        worker = settings.worker
        self._holder = holder
        self._jobs_url = worker.jobs_url
        self._cloud = cloud or Cloud()
        config = _worker_config(settings)
        self._place = Place(
            engine=engine(worker.engine, _engine_settings(settings)),
            root=WorkRoot(settings.work_root, worker.id),
            # two installations may each have a worker of this id, and one container engine
            worker=f"{worker.id}@{settings.home.resolve()}",
            worker_config=config,
            datasets_file=worker.datasets_file,
            grace=worker.kill_grace,
            user=worker.user,
            transfer_timeout=worker.transfer_timeout,
            processor_timeout=worker.processor_timeout,
            output_limit=worker.output_mib << 20,
            vault=Vault(worker.secrets, worker.secrets_dir),
        )
        self._logs = LogShipper(settings)
        self._preparing = Preparing(settings)
        self._images = Images(settings, self._place.engine, self._preparing.localizer)
        self._shelf = _Shelf.of(settings)
        self._triage = self._shelf.for_triage(settings) if self._shelf else None

    async def reap(self) -> list[tuple[str, int]]:
        """See Work; also closes what was left open: work directories, and staging that nobody will come back to.

        Raises EngineError.
        """
        orphans = await self._place.engine.reap_orphans(self._place.worker, self._holder)
        await in_thread(self._close_leftovers)
        await in_thread(self._preparing.sweep)
        await self._images.sweep()
        if self._shelf is not None:
            await in_thread(self._shelf.sweep)
        return [(orphan.job, orphan.attempt) for orphan in orphans]

    async def run(self, assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
        """See Work."""
        documents: list[dict[str, Any]] = []
        provenance: dict[str, Any] = {}
        preparing, images = self._preparing.of(assignment.document), self._images.of(assignment.job_id)
        observer = self._logs.of(assignment.job_id, assignment.attempt)
        triage = Triage(self._triage, assignment.attempt, assignment.holder, may_publish)

        async def announce(job_info: Mapping[str, Any]) -> None:
            started(preparing.told(job_info))

        async def make_visible(job_dir: Path, document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
            published = await self._publish(assignment, job_dir, document, may_publish)
            documents.extend(published.documents)
            provenance.update(published.provenance)
            return published.products_staged

        try:
            result = await run_attempt(
                assignment.document,
                self._place_now(),
                attempt=assignment.attempt,
                holder=assignment.holder,
                task_id=str(assignment.document.get("task_id") or task_id(assignment.job_id, assignment.attempt)),
                stop=stop,
                announce=announce,
                supply=images.supply,
                prepare=preparing.prepare,
                publish=make_visible if self._shelf is not None and preparing.publishes else None,
                pre=preparing.pre,
                post=preparing.post(triage),
                observer=observer,
            )
        finally:
            observer.ended()
            images.close()
        report = result.report()
        report["job_info"] = preparing.told(report["job_info"])
        metrics = report["job_info"]["metrics"]
        metrics["products_staged"].extend(triage.staged)
        metrics["product_provenance"] = provenance
        made = {"products": documents, "triaged": triage.documents}
        made = {name: value for name, value in made.items() if value}
        return WorkResult(result.succeeded, report | (result.mask.value(made) if result.mask else made))

    async def close(self) -> None:
        """See Work."""
        await self._place.engine.close()
        await in_thread(self._logs.close)

    async def _publish(
        self, assignment: Assignment, job_dir: Path, document: Mapping[str, Any], may_publish: MayPublish
    ) -> Published:
        if self._shelf is None:
            return Published()
        published = await publish(
            job_dir,
            document,
            assignment.attempt,
            assignment.holder,
            self._shelf.rules,
            self._shelf.store,
            may_publish,
            extractors=self._shelf.extractors,
            orphaned=self._shelf.orphaned,
        )
        for note in published.notes:
            log.info("job %s, attempt %d: %s", assignment.job_id, assignment.attempt, note)
        return published

    def _place_now(self) -> Place:
        """Return the place with what is known of its host by now."""
        facts = host_facts(self._cloud.facts)
        config = self._place.worker_config
        configured = config.jobs_url(facts["hysds_public_ip"]) if config else None
        return replace(self._place, facts=facts, url=self._jobs_url or configured)

    def _close_leftovers(self) -> None:
        for directory in self._place.root.leftovers():
            with suppress(OSError):
                directory.close()


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where products go, and by which rules."""

    rules: Rules
    store: Store = field(repr=False)
    extractors: Extractors = field(repr=False)
    orphaned: Orphaned = field(repr=False)

    def sweep(self) -> None:
        """Remove what publications left long ago; what can't be removed now is for the next start."""
        try:
            self.store.sweep(_STAGING_KEPT)
        except (DatasetError, OSError) as error:
            log.warning("old staging is left: %s", error)

    def for_triage(self, settings: Settings) -> TriageShelf:
        """Return where triage datasets go: to the others."""
        worker = settings.worker
        return TriageShelf(
            rules=self.rules, store=self.store, budget=worker.triage_mib << 20, partition=worker.triage_partition
        )

    @classmethod
    def of(cls, settings: Settings) -> "_Shelf | None":
        path = settings.worker.datasets_file
        if path is None:
            return None
        extractors = Extractors(settings.worker.extractors, settings.worker.processor_timeout)
        try:
            return cls(dataset_rules.load(path), product_store(settings), extractors, Orphans(settings))
        except DatasetError as error:
            raise ValueError(str(error)) from error


def _worker_config(settings: Settings) -> JobWorkerConfig | None:
    file = settings.worker.job_worker_file
    config = JobWorkerConfig.load(file) if file else None
    if config is not None and config.root_work_dir and Path(config.root_work_dir).resolve() != settings.work_root:
        log.warning("%s has root_work_dir %s; the settings' %s counts", file, config.root_work_dir, settings.work_root)
    return config


def _engine_settings(settings: Settings) -> EngineSettings:
    worker = settings.worker
    return EngineSettings(
        state_dir=settings.home.resolve() / "workers" / f"{worker.id}.runs",
        mount_roots=worker.mounts,
        gpus=worker.gpus > 0,
        user=worker.user,
        apptainer=worker.apptainer,
        apptainer_images=worker.apptainer_images or settings.home.resolve() / "apptainer",
    )
