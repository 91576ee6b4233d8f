"""What makes jobs of a job type: the operator's `orchestrator_jobs.json`, or the catch-all (spec §1.5)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from pipeline import retry_rules
from pipeline.identity import type_of
from pipeline.jobtypes.job_type import JobType, default_queue
from pipeline.submission import registered
from pipeline.submission.errors import CreatorsError, UnacceptableError
from pipeline.submission.loader import Loader
from pipeline.submission.request import Object, Seconds, Submission, faults
from pipeline.topology import QUEUE_NAME

#: The pass-through creator of types that have no other: the payload becomes the job's params.
CATCH_ALL = "utils.get_job_json"
#: Bytes of `orchestrator_jobs.json`.
_MAX_FILE = 4 << 20

Function = Callable[..., Any]
#: The registered job type of a name, None for a name that isn't registered; raises UnacceptableError for a broken one.
Registry = Callable[[str], JobType | None]


class CreatorConfig(BaseModel):
    """One creator of a job type; limits in seconds override the submission's."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    job_name: str = Field(min_length=1, max_length=200)
    function: str = Field(min_length=1, max_length=500)
    job_queues: list[str] = Field(min_length=1, max_length=100)
    soft_time_limit: Seconds | None = None
    time_limit: Seconds | None = None
    #: Rules for retries; a submission's own go over them.
    retry: Annotated[dict[str, Any] | Literal[False], BeforeValidator(retry_rules.checked)] | None = None

    @field_validator("job_queues")
    @classmethod
    def _queues_are_topic_names(cls, queues: list[str]) -> list[str]:
        for queue in queues:
            if not QUEUE_NAME.fullmatch(queue):
                raise ValueError(f"{queue!r} is no queue name: {QUEUE_NAME.pattern}")
        return list(dict.fromkeys(queues))


class TypeConfig(BaseModel):
    """A job type and the creators that all make jobs of it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    job_type: str = Field(min_length=1, max_length=500)
    job_creators: list[CreatorConfig] = Field(min_length=1, max_length=100)

    @field_validator("job_creators")
    @classmethod
    def _names_differ(cls, creators: list[CreatorConfig]) -> list[CreatorConfig]:
        # a job's id is made of its creator's name: two of one name would make one job
        names = [creator.job_name for creator in creators]
        if len(set(names)) < len(names):
            raise ValueError("two creators have the same job_name")
        return creators


class File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    configs: list[TypeConfig]


class Created(BaseModel):
    """What a creator returns."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    type: str = Field(min_length=1, max_length=512)
    params: dict[str, Any]
    localize_urls: list[str | dict[str, Any]] = Field(default_factory=list)
    name: str | None = Field(None, max_length=512)
    tag: str | None = None
    username: str | None = None
    command: Any = None
    container_image_name: str | None = None
    container_image_url: str | None = None
    container_image_urls: dict[str, str] | None = None
    container_mappings: dict[str, str | list[str]] | None = None
    runtime_options: dict[str, Any] | None = None
    dependency_images: list[dict[str, Any]] | None = None
    context: Object | None = None


@dataclass(frozen=True, slots=True)
class Creator:
    """One creator with its queues; `function` is None for the pass-through, else it is called in a thread.

    The pass-through of a registered type makes of the payload what the type says.
    """

    name: str
    queues: tuple[str, ...]
    function: Function | None = None
    takes_type: bool = False
    soft_time_limit: int | None = None
    time_limit: int | None = None
    registered: JobType | None = None
    retry: retry_rules.Rules | None = None

    def completed(self, submission: Submission) -> Submission:
        """Return the submission with what its registered type and this creator add; raises UnacceptableError."""
        whole = submission if self.registered is None else registered.completed(self.registered, submission)
        of_type = None if self.registered is None else self.registered.retry
        if of_type is None and self.retry is None:
            return whole
        return whole.model_copy(update={"retry": retry_rules.merged(of_type, self.retry, submission.retry)})

    def create(self, submission: Submission) -> Created:
        """Return the job that this creator makes; raises UnacceptableError naming the creator where it fails."""
        if self.function is None:
            return pass_through(submission, self.registered)
        # a creator gets its own copy: what it changes is no other creator's business
        payload = orjson.loads(orjson.dumps(submission.payload))
        try:
            made = self.function(payload, submission.type) if self.takes_type else self.function(payload)
        except Exception as error:
            raise UnacceptableError(f"job creator {self.name}: {type(error).__name__}: {error}"[:2000]) from error
        return self._checked(made)

    def _checked(self, made: Any) -> Created:
        try:
            plain = orjson.loads(orjson.dumps(made))
            if not isinstance(plain, dict):
                raise TypeError(f"it returned a {type(made).__name__}, and a dict is needed")
            return Created.model_validate({key: value for key, value in plain.items() if value is not None})
        except ValidationError as error:
            raise UnacceptableError(f"job creator {self.name}: {faults(error)}") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise UnacceptableError(f"job creator {self.name}: {error}"[:2000]) from error


def pass_through(submission: Submission, job_type: JobType | None = None) -> Created:
    """Return the job that the payload itself describes, or that a registered type makes of it."""
    specification = submission.payload.get("job_specification")
    images = specification.get("dependency_images") if isinstance(specification, dict) else None
    made = {
        "type": submission.type,
        "params": submission.payload,
        "localize_urls": submission.payload.get("localize_urls") or [],
        "dependency_images": images or None,
    }
    try:
        return Created.model_validate(made if job_type is None else registered.made(job_type, submission))
    except ValidationError as error:
        raise UnacceptableError(f"payload: {faults(error)}") from error


class Creators:
    """The creators of every configured job type; an unconfigured one has the catch-all.

    `registry` knows the registered types, with or without creators.
    """

    def __init__(
        self, configured: Mapping[str, tuple[Creator, ...]] | None = None, registry: Registry = lambda _: None
    ) -> None:
        self._configured = dict(configured or {})
        self._registry = registry

    def knowing(self, registry: Registry) -> "Creators":
        """Return the same creators with a registry."""
        return Creators(self._configured, registry)

    def of(self, submission: Submission) -> tuple[Creator, ...]:
        """Return what makes jobs of this submission; raises UnacceptableError where a queue's name is none."""
        known, job_type = self._configured.get(submission.type), self._registry(submission.type)
        if known is not None:
            return tuple(one if one.function else replace(one, registered=job_type) for one in known)
        queue = submission.job_queue or (job_type.queue if job_type else default_queue(submission.type))
        if not QUEUE_NAME.fullmatch(queue):
            whose = "job_queue" if submission.job_queue else "the job type's own queue"
            raise UnacceptableError(f"{whose}: {queue[:200]!r} is no queue name, which is {QUEUE_NAME.pattern}")
        return (Creator(CATCH_ALL, (queue,), registered=job_type),)

    @property
    def types(self) -> tuple[str, ...]:
        """The job types that are configured."""
        return tuple(self._configured)


def load(file: Path | None, directory: Path | None) -> Creators:
    """Read `orchestrator_jobs.json` and load each function that it names; without a file all is catch-all.

    Raises CreatorsError for a file or function that can't be used: at the start, not at the first submission.
    """
    if file is None:
        return Creators()
    loader = Loader(directory)
    configured: dict[str, tuple[Creator, ...]] = {}
    for config in _read(file).configs:
        name = type_of(config.job_type)
        if name in configured:
            raise CreatorsError(f"{file}: job type {name} appears twice")
        configured[name] = tuple(_creator(one, loader) for one in config.job_creators)
    return Creators(configured)


def _read(file: Path) -> File:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise CreatorsError(f"{file}: longer than {_MAX_FILE} bytes")
        return File.model_validate(orjson.loads(data))
    except ValidationError as error:
        raise CreatorsError(f"{file}: {faults(error)}") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise CreatorsError(f"{file}: {error}") from error


def _creator(config: CreatorConfig, loader: Loader) -> Creator:
    queues = tuple(config.job_queues)
    if config.function == CATCH_ALL:
        function, takes_type = None, False
    else:
        function, takes_type = loader.load(config.function)
    limits = (config.soft_time_limit, config.time_limit)
    return Creator(config.job_name, queues, function, takes_type, *limits, retry=config.retry)
