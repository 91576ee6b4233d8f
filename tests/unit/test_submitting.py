"""Where a client looks for the jobs of what it sends: in the family that the gate puts them into."""

from dataclasses import replace
from typing import Any

import pytest

from ops.submitting import Submission, encoded
from pipeline.codec import Codec
from pipeline.messages.inbox import Rejected, Source, Submitted
from pipeline.submission import request
from pipeline.submission.creators import Creators
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.rejection import rejected

ORIGIN = Origin("jobs.submit", Source("submit", 3, 17), 1_700_000_000_000)


@pytest.mark.parametrize("principal", [None, "alice"])
@pytest.mark.parametrize(
    ("job_type", "options", "body"),
    [
        ("x", {}, Submitted),
        ("job:job-tile:v1", {}, Submitted),
        ("x", {"payload_hash": "mine"}, Submitted),
        ("job-tile:v1", {"payload_hash": "mine"}, Submitted),
        ("x", {"payload_hash": ""}, Rejected),
        ("x", {"payload_hash": "long" * 200}, Rejected),
        ("x", {"payload_hash": "mine", "priority": 11}, Rejected),
    ],
)
def test_a_client_knows_the_family_of_its_jobs(
    job_type: str, options: dict[str, Any], body: type, principal: str | None
) -> None:
    sent = Submission(job_type, {"a": [1, "é"]}, options=options)
    value = encoded(Codec(), sent)
    fields, origin = Codec().decode("submission", value), replace(ORIGIN, principal=principal)
    try:
        parsed = request.parse(fields, value)
        message = jobs_of(parsed, Creators().of(parsed), origin, 300)
    except UnacceptableError as error:
        message = rejected(fields, str(error), origin)
    assert isinstance(message.body, body)
    assert sent.family(principal) == message.family
