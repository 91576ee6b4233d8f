"""How topics are made."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.settings.section import Section
from pipeline.topology import PRINCIPAL_NAME, QUEUE_NAME, RESERVED_TASK_QUEUES


def _task_queue(name: str) -> str:
    if not QUEUE_NAME.fullmatch(name) or name in RESERVED_TASK_QUEUES:
        raise ValueError(f"{name!r} can't be a task queue: {QUEUE_NAME.pattern}, not {', '.join(RESERVED_TASK_QUEUES)}")
    return name


def _principal(name: str) -> str:
    if not PRINCIPAL_NAME.fullmatch(name):
        raise ValueError(f"{name!r} can't name a topic: {PRINCIPAL_NAME.pattern}")
    return name


class TopicSettings(Section):
    """Numbers that are fixed once the topics exist."""

    prefix: str = Field("", pattern=r"^[a-z0-9._-]{0,40}$", description="before each topic's and group's name")
    inbox_partitions: int = Field(2, ge=1, le=1000, description="of inbox, reports, control and changelogs")
    inbox_generation: int = Field(
        1, ge=1, le=1000, description="which inbox: `jobstream ledger move` makes the next, with more partitions"
    )
    fact_partitions: int | None = Field(
        None, ge=1, le=1000, description="of events, datasets, logs and task events; none: as many as the inbox"
    )
    submit_partitions: int = Field(8, ge=1, le=1000, description="of jobs.submit")
    commands_partitions: int = Field(4, ge=1, le=1000, description="of workers.commands: at least 1 per 16 workers")
    task_queues: tuple[Annotated[str, AfterValidator(_task_queue)], ...] = Field(
        ("default",), description="queues of tasks: each has its topic `tasks.<queue>`"
    )
    task_partitions: int = Field(
        1, ge=1, le=1000, description="of each tasks.<queue>: 1 with share groups, else as many as run tasks at once"
    )
    principals: tuple[Annotated[str, AfterValidator(_principal)], ...] = Field(
        (), description="who submits by a topic of their own, `jobs.submit.<principal>`, and is known by that"
    )
    replication: int = Field(1, ge=1, le=9, description="copies of each partition")

    @model_validator(mode="after")
    def _fact_partitions_fit(self) -> Self:
        if self.fact_partitions and self.inbox_partitions % self.fact_partitions:
            raise ValueError("inbox_partitions must be a multiple of fact_partitions: a family's facts stay in one")
        return self
