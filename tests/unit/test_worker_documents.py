"""Run documents of grants: whole ones, and large ones by reference with what changed since."""

import asyncio
import json

import pytest

from agents.worker.documents import Documents, UnreadableDocumentError, document_in
from pipeline.codec import Codec
from pipeline.messages.command import GRANT, Command, Reference
from pipeline.messages.inbox import Inbox, NewJob, Submitted
from pipeline.messages.needs import Needs
from pipeline.settings import Settings

JOB = "f-1"
BODY = {"needs": {"memory_mib": 5, "cpus": 2}, "params": {"a": 1}, "job_info": {"id": JOB, "job_queue": "q"}}
INBOX = Inbox("f", Submitted("s", "h", True, (NewJob(JOB, "q", "c", 0, Needs(), json.dumps(BODY)),)), None, 1000)


def grant(**fields: object) -> Command:
    return Command(GRANT, "w:1:a", JOB, 2, **fields)


def test_what_changed_goes_over_a_referenced_document_field_by_field() -> None:
    changes = {"needs": {"memory_mib": 9}, "grown": {"memory_mib": 9}, "job_info": {"job_queue": "big"}}
    document = document_in(INBOX, grant(reference=Reference(0, 7), document=json.dumps(changes)))
    assert document["needs"] == {"memory_mib": 9, "cpus": 2}
    assert document["job_info"] == {"id": JOB, "job_queue": "big", "time_queued": "1970-01-01T00:00:01.000000Z"}
    assert (document["grown"], document["params"], document["attempt"]) == ({"memory_mib": 9}, {"a": 1}, 2)


def test_a_grant_without_anything_to_run_can_not_be_read() -> None:
    documents = Documents(Settings(), Codec())
    try:
        assert asyncio.run(documents.of(grant(document='{"a": 1}'))) == {"a": 1}
        with pytest.raises(UnreadableDocumentError, match="neither"):
            asyncio.run(documents.of(grant()))
    finally:
        documents.close()
