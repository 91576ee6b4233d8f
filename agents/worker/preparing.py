"""What jobs get before and after their command, as the settings say: inputs, and processors."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.inputs import preparation
from pipeline.inputs.backends import Backends, load_options
from pipeline.inputs.cache import Cache
from pipeline.inputs.errors import InputError
from pipeline.inputs.limits import Limits
from pipeline.inputs.localize import Localizer
from pipeline.inputs.policy import Policy
from pipeline.processors.plan import TRIAGE, Allowed, Plan, plan
from pipeline.processors.processor import NotAllowedError, Processor
from pipeline.processors.program import Program
from pipeline.settings import Settings
from pipeline.work.errors import AttemptError, Category
from pipeline.work.seams import Prepare

log = logging.getLogger(__name__)


class Preparing:
    """One for all attempts of a worker."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for a storage file that is wrong, OSError for the cache's directory."""
        worker = settings.worker
        self._seconds = worker.transfer_timeout
        self._allowed = Allowed(pre=worker.pre, post=worker.post, on_request=worker.processors)
        limits = _limits(settings)
        size = settings.inputs.cache_mib << 20
        self._cache = Cache(settings.input_cache, size, limits) if size else None
        self.localizer = _localizer(settings, limits, self._cache)

    def sweep(self) -> None:
        """Count what the cache holds, and make it fit its limit; what can't be done now is for the next start."""
        if self._cache is None:
            return
        try:
            self._cache.sweep()
        except (InputError, OSError) as error:
            log.warning("the cache was not counted: %s", error)

    def of(self, document: Mapping[str, Any]) -> "JobPreparing":
        """Return what one job gets."""
        try:
            return JobPreparing(plan(document, self._allowed), self.localizer, self._seconds)
        except NotAllowedError as error:
            # whatever a job asks for, it isn't spared what each one gets
            return JobPreparing(Plan(post=self._allowed.post), self.localizer, self._seconds, error)


class JobPreparing:
    """What one job gets; `figures` tell how its inputs came."""

    def __init__(
        self, plan_: Plan, localizer: Localizer, seconds: float, refusal: NotAllowedError | None = None
    ) -> None:
        self._plan = plan_
        self._localizer = localizer
        self._seconds = seconds
        self._refusal = refusal
        self.figures: dict[str, Any] = {}

    @property
    def prepare(self) -> Prepare | None:
        """The built-in pre-processors; None where the job needs none."""
        return self._prepare if self._refusal is not None or self._plan.pre_builtins else None

    @property
    def pre(self) -> Sequence[Processor]:
        """The operator's and the job's pre-processors."""
        return [Program(name) for name in self._plan.pre]

    def post(self, triage: Processor) -> Sequence[Processor]:
        """Return the operator's and the job's post-processors; `triage` stands for the built-in one, once."""
        names = dict.fromkeys(triage.name if name in TRIAGE else name for name in self._plan.post)
        return [triage if name == triage.name else Program(name) for name in names]

    @property
    def publishes(self) -> bool:
        """Whether products are published, which is the built-in post-processor."""
        return self._plan.post_builtins

    def told(self, job_info: Mapping[str, Any]) -> dict[str, Any]:
        """Return a report's `job_info` with `inputs`, if the job has any."""
        return {**job_info, "inputs": self.figures} if self.figures else dict(job_info)

    async def _prepare(self, directory: Path, document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if self._refusal is not None:
            raise AttemptError(str(self._refusal), Category.INVALID) from self._refusal
        try:
            localized = await preparation.prepare(self._localizer, directory, document, self._seconds)
        except InputError as error:
            raise AttemptError(f"localize failed: {error}", Category.INPUTS) from error
        self.figures = localized.figures
        return localized.entries


def _limits(settings: Settings) -> Limits:
    inputs = settings.inputs
    return Limits(
        files=inputs.max_files,
        total=inputs.max_mib << 20,
        parallel=inputs.parallel,
        seconds=settings.worker.transfer_timeout,
        file_seconds=inputs.file_timeout,
        tries=inputs.tries,
        stall=inputs.stall,
        stale=inputs.stale,
    )


def _localizer(settings: Settings, limits: Limits, cache: Cache | None) -> Localizer:
    inputs = settings.inputs
    roots = (settings.product_store, *inputs.roots)
    policy = Policy(schemes=inputs.schemes, hosts=inputs.hosts, roots=roots)
    return Localizer(policy, limits, cache, Backends(load_options(inputs.storage_file), inputs.stall))
