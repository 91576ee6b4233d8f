"""A submission, checked: what a sender may ask for, and in what shape (spec §1.1)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline import retry_rules
from pipeline.identity import type_of
from pipeline.submission import disk
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.numbers import check_depth, check_integers
from pipeline.topology import SUBMISSION_LIMIT

#: Avro's int.
INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
#: Faults that one error names at most.
_MAX_FAULTS = 10
#: Bytes that a submission's id has at most, as JSON.
ID_BYTES = 512


def _object(value: Any) -> Any:
    """Avro carries objects as JSON texts, JSON as themselves: both are read."""
    if isinstance(value, str):
        check_integers(value)
        value = orjson.loads(value)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is needed")
    check_depth(value)
    return value


def _disk_usage(value: str) -> str:
    disk.mib_of(value)
    return value


def _retry(value: Any) -> Any:
    return retry_rules.checked(orjson.loads(value) if isinstance(value, str) else value)


def is_id(text: str) -> bool:
    """Say whether a text may be a submission's id: hundreds stand in one row of the ledger's, which is one record."""
    return 0 < len(orjson.dumps(text)) - 2 <= ID_BYTES


def _id(value: str) -> str:
    if not is_id(value):
        raise ValueError(f"at most {ID_BYTES} bytes are taken, as JSON has it")
    return value


Object = Annotated[dict[str, Any], BeforeValidator(_object)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Seconds = Annotated[int, Field(gt=0, le=INT_MAX)]
Mib = Annotated[int, Field(ge=0, le=INT_MAX)]


class _Strict(BaseModel):
    """Nothing is converted: "5" is no number, 1 no boolean; NaN and infinity are no numbers either."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Wanted(_Strict):
    """What the job needs of a worker: MiB, CPUs, GPUs, labels that the worker carries, its engine."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    memory_mib: Mib = 0
    disk_mib: Mib | None = None
    gpus: Annotated[int, Field(ge=0, le=1024)] = 0
    cpus: Annotated[float, Field(gt=0, le=4096)] | None = None
    labels: Annotated[dict[Name, str], Field(max_length=100)] = Field(default_factory=dict)
    engine: Name | None = None


class Submission(_Strict):
    """One submission. Fields that it doesn't know are ignored; a null is the same as nothing.

    `disk_usage` and `payload._disk_usage` give the disk need where `needs.disk_mib` doesn't. `retry` has rules for
    retries (`pipeline.retry_rules`), or is false.
    """

    job_type: Name
    payload: Object
    submission_id: Annotated[Name, AfterValidator(_id)] | None = None
    job_queue: Name | None = None
    job_name: Name | None = None
    payload_hash: Name | None = None
    enable_dedup: bool = True
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    tag: Name | None = None
    tags: Annotated[list[str], Field(max_length=100)] | None = None
    username: Name | None = None
    time_limit: Seconds | None = None
    soft_time_limit: Seconds | None = None
    container_image_name: Name | None = None
    container_image_url: Annotated[str, Field(max_length=2048)] | None = None
    container_image_urls: Annotated[dict[str, str], BeforeValidator(_object)] | None = None
    container_mappings: Annotated[dict[str, str | list[str]], BeforeValidator(_object)] | None = None
    runtime_options: Object | None = None
    context: Object | None = None
    needs: Annotated[Wanted, BeforeValidator(_object)] | None = None
    disk_usage: Annotated[str, AfterValidator(_disk_usage)] | None = None
    max_wait: Annotated[int, Field(ge=0, le=LONG_MAX)] | None = None
    publish_overwrite_ok: bool = False
    retry: Annotated[dict[str, Any] | Literal[False], BeforeValidator(_retry)] | None = None

    @property
    def type(self) -> str:
        """The job type without its `job:` prefix."""
        return type_of(self.job_type)

    @property
    def first_tag(self) -> str | None:
        """The job's tag: the one given, else the first of `tags`."""
        return self.tag or (self.tags[0] if self.tags else None)

    def disk_mib(self) -> int:
        """Return the disk need in MiB, 0 where none is named; raises UnacceptableError for one that can't be read."""
        if self.needs is not None and self.needs.disk_mib is not None:
            return self.needs.disk_mib
        usage = self.disk_usage or self.payload.get("_disk_usage") or "0KB"
        try:
            need = disk.mib_of(usage)
        except (ValueError, TypeError) as error:
            raise UnacceptableError(f"payload._disk_usage: {error}") from error
        if need > INT_MAX:
            raise UnacceptableError(f"payload._disk_usage: {usage} is more than any worker could offer")
        return need


def parse(record: Mapping[str, Any], raw: bytes) -> Submission:
    """Check a decoded submission; `raw` is the record as it came, for its size and its numbers.

    Raises UnacceptableError naming every field that is wrong.
    """
    if len(raw) > SUBMISSION_LIMIT:
        raise UnacceptableError(
            f"the submission has {len(raw)} bytes, the limit is {SUBMISSION_LIMIT}: pass larger inputs by reference"
        )
    try:
        if raw[:1] not in (b"\x00", b"\xc3"):
            check_integers(raw)
        return Submission.model_validate({key: value for key, value in record.items() if value is not None})
    except ValidationError as error:
        raise UnacceptableError(faults(error)) from error
    except (ValueError, RecursionError) as error:
        raise UnacceptableError(str(error)) from error


def faults(error: ValidationError) -> str:
    """Return what is wrong, field by field, without the values, which may be large or secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    named = [f"{'.'.join(map(str, fault['loc']))[:200]}: {fault['msg'][:300]}" for fault in found[:_MAX_FAULTS]]
    return "; ".join(named) + (f"; and {len(found) - _MAX_FAULTS} more" if len(found) > _MAX_FAULTS else "")
