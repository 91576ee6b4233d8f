"""A registered job type: a job-spec with its hysds-io, under a name and a version."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline import retry_rules
from pipeline.jobtypes import check, hysds_io, job_spec
from pipeline.jobtypes.hysds_io import Input
from pipeline.jobtypes.job_spec import JobSpec
from pipeline.jobtypes.problems import InvalidError, Problem
from pipeline.submission.numbers import MAX_DEPTH, check_depth
from pipeline.topology import QUEUE_NAME

#: Bytes of a type's JSON.
LIMIT = 256 * 1024
_PREFIX = "job-"


def type_id(name: str, version: str) -> str:
    """Return what submissions call a type (spec §2.1): without `job-` its name would be taken for a prefix.

    >>> type_id("hello", "v1.0"), type_id("job-hello", "v1.0")
    ('job-hello:v1.0', 'job-hello:v1.0')
    """
    return f"{_PREFIX}{name.removeprefix(_PREFIX)}:{version}"


@dataclass(frozen=True, slots=True)
class JobType:
    """A checked job type.

    `inputs` has one for each parameter; `container` has `name` and maybe `url` and `urls`; `needs` are those of a
    submission (`pipeline.submission.request.Wanted`) that says nothing else; `raw` is the document itself.
    """

    id: str
    spec: JobSpec
    inputs: Mapping[str, Input]
    queue: str
    enable_dedup: bool
    container: Mapping[str, Any]
    needs: Mapping[str, Any]
    raw: Mapping[str, Any]
    #: rules for retries of its jobs (`pipeline.retry_rules`)
    retry: retry_rules.Rules | None = None

    @classmethod
    def of(cls, raw: Any) -> "JobType":
        """Check a document and return the type that it is; raises InvalidError with everything that is wrong."""
        if found := problems(raw):
            raise InvalidError(found)
        spec, io = JobSpec.of(raw["job_spec"]), raw.get("hysds_io")
        own = {param.name: Input(param.name) for param in spec.params}
        named = type_id(raw["name"], raw["version"])
        return cls(
            id=named,
            spec=spec,
            inputs=own if io is None else hysds_io.inputs(io),
            queue=raw.get("queue") or _queue(spec, named),
            enable_dedup=io is None or io.get("enable_dedup") is not False,
            container=raw.get("container") or {},
            needs=raw.get("needs") or {},
            raw=raw,
            retry=raw.get("retry"),
        )

    @property
    def name(self) -> str:
        """The id without its version."""
        return self.id.partition(":")[0]

    @property
    def version(self) -> str:
        """The id's version."""
        return self.id.partition(":")[2]

    def dump(self) -> bytes:
        """Return the document as JSON, the same bytes for the same content."""
        return orjson.dumps(self.raw, option=orjson.OPT_SORT_KEYS)


def problems(raw: Any) -> list[Problem]:
    """Return everything that is wrong with a job type, its job-spec and its hysds-io."""
    try:
        check_depth([raw])
    except ValueError as error:
        return [Problem("job type", "$", str(error), f"{MAX_DEPTH} levels at most")]
    found = check.problems(check.Kind.JOB_TYPE, raw)
    if not isinstance(raw, Mapping):
        return found
    spec, io = raw.get("job_spec"), raw.get("hysds_io")
    of_spec = job_spec.problems(spec) if isinstance(spec, Mapping) else []
    of_io = hysds_io.problems(io) if isinstance(io, Mapping) else []
    found += of_spec + of_io
    if isinstance(spec, Mapping) and isinstance(io, Mapping) and not of_spec and not of_io:
        found += _differing([one["name"] for one in spec["params"]], [one["name"] for one in io["params"]])
    if not found:
        found += _size(raw) + _unqueued(raw) + _retry(raw)
    return found


def advice(raw: Mapping[str, Any]) -> list[str]:
    """Return what could be better in a job type without `problems`."""
    said = check.unread(check.Kind.JOB_TYPE, raw) + job_spec.advice(raw["job_spec"])
    said += hysds_io.advice(raw["hysds_io"]) if raw.get("hysds_io") is not None else []
    return said + [
        f"job-spec: {queue!r} is no queue name here ({QUEUE_NAME.pattern}), and isn't used"
        for queue in JobSpec.of(raw["job_spec"]).queues
        if not QUEUE_NAME.fullmatch(queue)
    ]


def default_queue(job_type: str) -> str:
    """Return the queue of a type that names none: its own name, in the letters that a topic may have.

    >>> default_queue("job-hello:v1.0")
    'job-hello__v1.0'
    """
    return job_type.replace(":", "__").lower()


def _queue(spec: JobSpec, named: str) -> str:
    usable: Iterable[str] = (queue for queue in spec.queues if QUEUE_NAME.fullmatch(queue))
    return next(iter(usable), default_queue(named))


def _differing(in_spec: list[str], in_io: list[str]) -> list[Problem]:
    missing = [name for name in in_spec if name not in in_io]
    surplus = [name for name in in_io if name not in in_spec]
    return [
        *(Problem("hysds-io", "$.params", "nothing", f"the parameter {name} of the job-spec") for name in missing),
        *(Problem("job-spec", "$.params", "nothing", f"the parameter {name} of the hysds-io") for name in surplus),
    ]


def _retry(raw: Mapping[str, Any]) -> list[Problem]:
    if raw.get("retry") is None:
        return []
    try:
        retry_rules.checked(raw["retry"])
    except ValueError as error:
        return [Problem("job type", "$.retry", str(error), "rules for retries, or false")]
    return []


def _size(raw: Mapping[str, Any]) -> list[Problem]:
    try:
        size = len(orjson.dumps(raw))
    except (TypeError, orjson.JSONEncodeError) as error:
        return [Problem("job type", "$", f"what can't be written as JSON: {error}", "integers of 64 bits and UTF-8")]
    return [] if size <= LIMIT else [Problem("job type", "$", f"{size} bytes", f"at most {LIMIT}")]


def _unqueued(raw: Mapping[str, Any]) -> list[Problem]:
    queue = raw.get("queue") or _queue(JobSpec.of(raw["job_spec"]), type_id(raw["name"], raw["version"]))
    if QUEUE_NAME.fullmatch(queue):
        return []
    return [Problem("job type", "$.queue", f"nothing, and {queue} is no queue's name", "a queue")]
