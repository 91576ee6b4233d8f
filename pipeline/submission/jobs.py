"""The jobs of a submission: one for each creator and queue (spec §1.5, §1.6)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.identity import family_of_hash, family_of_payload, job_id, life_of, payload_hash
from pipeline.messages import mark, trace
from pipeline.messages.inbox import Inbox, NewJob, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.messages.trace import Trace
from pipeline.submission import limits
from pipeline.submission.creators import CATCH_ALL, Created, Creator
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.request import INT_MAX, Submission


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a submission came from: `topic` by its full name, `time` the broker's in ms, the sender where known.

    `replay` is the mark of one that was sent again from the past (`pipeline.messages.mark`).
    `trace` is the trace context that it brought.
    `named` is the id of a submission that was sent before, from elsewhere, and brings none of its own.
    """

    topic: str
    source: Source
    time: int
    principal: str | None = None
    replay: str = ""
    named: str = ""
    trace: Trace = field(default_factory=Trace)

    @property
    def submission_id(self) -> str:
        """The id of a submission that brings none of its own."""
        return self.named or f"{self.topic}-{self.source.partition}-{self.source.offset}"

    @property
    def life(self) -> str:
        """What tells its jobs from those that the same submission made before they were forgotten."""
        return life_of(self.topic, self.source.partition, self.source.offset, self.time)


@dataclass(frozen=True, slots=True)
class Naming:
    """What a submission is called: its id, hash, family, life; its mark if it was sent again, its sender, its trace."""

    submission_id: str
    payload_hash: str
    family: str
    life: str = ""
    replay: str = ""
    principal: str | None = None
    trace: Trace = field(default_factory=Trace)

    @classmethod
    def of(cls, submission: Submission, origin: Origin) -> "Naming":
        """Name a submission; where its sender is known, its hash counts within that sender's own jobs (design §2)."""
        own = submission.payload_hash
        hash_ = own or payload_hash(submission.payload)
        sender = origin.principal
        family = family_of_hash(hash_, sender) if own else family_of_payload(hash_, submission.type, sender)
        own_id = submission.submission_id or origin.submission_id
        return cls(own_id, hash_, family, origin.life, origin.replay, sender, origin.trace)


def submitter(principal: str | None, username: str | None) -> dict[str, Any]:
    """Return who sent a submission, as its jobs say: a name that the broker vouches for, or one that it gave itself."""
    if principal is not None:
        return {"name": principal, "verified": True}
    return {**({"name": username} if username else {}), "verified": False}


def jobs_of(submission: Submission, creators: Iterable[Creator], origin: Origin, gap: int) -> Inbox:
    """Return the inbox message with every job of a submission; `gap` (s) is the least between the time limits.

    Each job stands for itself: its id says which creator and queue it is of, so that no copy can overwrite another
    (spec §13, D3). Raises UnacceptableError, and then no job exists, where a creator fails (D4).
    """
    naming = Naming.of(submission, origin)
    asked = [(creator, creator.completed(submission)) for creator in creators]
    jobs = tuple(
        _job(whole, naming, creator, made, queue, gap)
        for creator, whole in asked
        for made in (creator.create(submission),)
        for queue in creator.queues
    )
    dedup = all(whole.enable_dedup for _, whole in asked)
    body = Submitted(naming.submission_id, naming.payload_hash, dedup, jobs)
    return Inbox(naming.family, body, origin.source, origin.time, origin.principal)


def _job(submission: Submission, naming: Naming, creator: Creator, made: Created, queue: str, gap: int) -> NewJob:
    identity = job_id(naming.family, naming.submission_id, naming.payload_hash, creator.name, queue, naming.life)
    soft = limits.chosen(creator.soft_time_limit, submission.soft_time_limit)
    hard = limits.with_gap(soft, limits.chosen(creator.time_limit, submission.time_limit), gap)
    if hard is not None and hard > INT_MAX:
        raise UnacceptableError(f"time_limit: {hard} s is more than the limit can be")
    needs = _needs(submission)
    body = _body(submission, naming, creator, made, queue, identity, (soft, hard), needs)
    return NewJob(
        job_id=identity,
        queue=queue,
        creator=creator.name,
        priority=submission.priority or 0,
        needs=needs,
        body=body,
        time_limit=hard,
        soft_time_limit=soft,
        max_wait=submission.max_wait,
    )


def _needs(submission: Submission) -> Needs:
    wanted = submission.needs
    if wanted is None:
        return Needs(disk_mib=submission.disk_mib())
    return Needs(wanted.memory_mib, submission.disk_mib(), wanted.gpus, wanted.labels, wanted.engine)


def _body(
    submission: Submission,
    naming: Naming,
    creator: Creator,
    made: Created,
    queue: str,
    identity: str,
    time_limits: tuple[int | None, int | None],
    needs: Needs,
) -> str:
    """Return the job's immutable part as JSON (spec §3.2); fields that are optional there are left out when empty."""
    soft, hard = time_limits
    cpus = submission.needs.cpus if submission.needs else None
    job: dict[str, Any] = {
        "type": made.type,
        "name": _name(submission, creator, made, identity),
        "job_id": identity,
        "priority": submission.priority or 0,
        "params": made.params,
        "localize_urls": [_localized(one) for one in made.localize_urls],
        **_containers(submission, made),
        "needs": {
            "memory_mib": needs.memory_mib,
            "disk_mib": needs.disk_mib,
            "gpus": needs.gpus,
            "labels": dict(needs.labels),
            "engine": needs.engine,
            **({} if cpus is None else {"cpus": cpus}),
        },
        "job_info": {
            "id": identity,
            "job_queue": queue,
            "time_limit": hard,
            "soft_time_limit": soft,
            "payload_hash": naming.payload_hash,
            "dedup": submission.enable_dedup,
            "job_payload": {"job_type": submission.job_type, "payload_task_id": naming.submission_id},
        },
    }
    optional = {
        "submitter": submitter(naming.principal, made.username or submission.username),
        "tag": made.tag or submission.first_tag,
        "tags": submission.tags,
        "username": made.username or submission.username,
        "command": made.command,
        "context": {**(made.context or {}), **(submission.context or {})},
        "publish_overwrite_ok": submission.publish_overwrite_ok,
        "container_of_submitter": _brings_container(submission),
        mark.FIELD: naming.replay,
        trace.FIELD: naming.trace.record(),
    }
    if submission.retry is not None:
        job["retry"] = submission.retry
    return orjson.dumps(job | {key: value for key, value in optional.items() if value}).decode()


def _name(submission: Submission, creator: Creator, made: Created, identity: str) -> str:
    if creator.name == CATCH_ALL:
        return (submission.job_name or submission.job_type).replace(":", "__")
    return made.name or identity


def _containers(submission: Submission, made: Created) -> dict[str, Any]:
    """Return the container fields: the submission's own where it has them, else the creator's."""

    def first(mine: Any, theirs: Any) -> Any:
        return theirs if mine is None else mine

    return {
        "container_image_name": first(submission.container_image_name, made.container_image_name),
        "container_image_url": first(submission.container_image_url, made.container_image_url),
        "container_image_urls": first(submission.container_image_urls, made.container_image_urls),
        "container_mappings": first(submission.container_mappings, made.container_mappings) or {},
        "runtime_options": first(submission.runtime_options, made.runtime_options) or {},
        "dependency_images": made.dependency_images or [],
    }


def _brings_container(submission: Submission) -> bool:
    """Say whether the submitter chose what the command finds around it: then what runs is the submitter's choice."""
    fields = (
        submission.container_image_name,
        submission.container_image_url,
        submission.container_image_urls,
        submission.container_mappings,
    )
    return any(fields)


def _localized(entry: str | dict[str, Any]) -> dict[str, Any]:
    """Return an input as the worker reads it: a text is a URL."""
    if isinstance(entry, str):
        return {"url": entry}
    if not isinstance(entry.get("url"), str):
        raise UnacceptableError("localize_urls: each needs a url, which is a text")
    return entry
