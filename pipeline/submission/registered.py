"""A submission of a registered job type: what the type adds to it, and the job that it makes (spec §2.2)."""

from typing import Any

from pydantic import ValidationError

from pipeline.jobtypes.job_type import JobType
from pipeline.jobtypes.problems import InvalidError
from pipeline.jobtypes.resolve import resolve
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.request import Submission, Wanted

#: The submission's own fields that a `passthrough` parameter may take.
_FIELDS = ("username", "priority", "tag", "job_name", "job_queue")


def completed(job_type: JobType, submission: Submission) -> Submission:
    """Return the submission with the type's limits, needs and disk usage where it says nothing itself.

    Dedup takes place only where both want it. Raises UnacceptableError for needs that can't be.
    """
    spec = job_type.spec
    soft, hard = submission.soft_time_limit, submission.time_limit
    # a limit that a submitter chose isn't stretched by the type's other one
    if soft is None and (hard is None or spec.soft_time_limit < hard):
        soft = spec.soft_time_limit
    if hard is None and (soft is None or soft < spec.time_limit):
        hard = spec.time_limit
    return submission.model_copy(
        update={
            "soft_time_limit": soft,
            "time_limit": hard,
            "needs": _needs(job_type, submission),
            "disk_usage": submission.disk_usage or submission.payload.get("_disk_usage") or spec.disk_usage,
            "enable_dedup": submission.enable_dedup and job_type.enable_dedup,
        }
    )


def made(job_type: JobType, submission: Submission) -> dict[str, Any]:
    """Return what a creator of this type returns; raises UnacceptableError naming every parameter that is wrong."""
    fields = {name: value for name in _FIELDS if (value := getattr(submission, name)) is not None}
    try:
        resolved = resolve(job_type, submission.payload, fields | {"tag": submission.first_tag})
    except InvalidError as error:
        raise UnacceptableError(f"job type {error}") from error
    spec, container = job_type.spec, job_type.container
    return {
        "type": submission.type,
        "params": dict(resolved.params),
        "localize_urls": list(resolved.localize_urls),
        "command": resolved.command,
        "container_image_name": container.get("name"),
        "container_image_url": container.get("url"),
        "container_image_urls": container.get("urls"),
        "container_mappings": spec.mappings or None,
        "runtime_options": spec.runtime_options or None,
        "dependency_images": spec.dependency_images or None,
    }


def _needs(job_type: JobType, submission: Submission) -> Wanted | None:
    if not job_type.needs:
        return submission.needs
    own = submission.needs.model_dump(exclude_unset=True) if submission.needs else {}
    if submission.disk_usage or submission.payload.get("_disk_usage"):
        own.setdefault("disk_mib", None)
    try:
        return Wanted.model_validate({**job_type.needs, **own})
    except ValidationError as error:
        raise UnacceptableError(f"job type {job_type.id}: its needs can't be") from error
