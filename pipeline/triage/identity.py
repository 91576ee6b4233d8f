"""Names of triage datasets."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pipeline.datasets import templates

#: A job that works on a triage dataset may be named after it: its own is named after the first job.
_TRIAGED = re.compile(r"triaged_job-(?P<job_id>.+)_task-[A-Za-z0-9-]+")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:=@-]{0,199}")
#: Characters of a job id, so that the whole is no longer than an id may be.
_JOB_ID = 130


def triage_id(job: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Return the dataset's id: as `_triage_id_format` of the context says, else made of the job's and the task's.

    The format may name `{job_id}`, `{job[…]}` and `{job_context[…]}`; one that can't be filled or gives no id
    doesn't count.
    """
    job_id = str(job.get("job_id"))
    if inner := _TRIAGED.fullmatch(job_id):
        job_id = inner["job_id"]
    wanted = context.get("_triage_id_format")
    if isinstance(wanted, str):
        with suppress(ValueError):
            made = templates.fill(wanted, {"job_id": job_id, "job": job, "job_context": context})
            if _ID.fullmatch(made):
                return made
    return f"triaged_job-{job_id[:_JOB_ID]}_task-{job.get('task_id')}"
