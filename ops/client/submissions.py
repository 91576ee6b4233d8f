"""Submissions as users write them."""

import difflib
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import orjson

from ops.client.errors import InvalidSubmissionError
from ops.submitting import Submission
from pipeline.retry_rules import checked
from pipeline.submission.request import is_id


class Options(TypedDict, total=False):
    """Fields of a submission beside type, payload and id, as docs/submitting.md explains them; None is absent."""

    job_queue: str | None
    job_name: str | None
    payload_hash: str | None
    enable_dedup: bool
    priority: int | None
    tag: str | None
    tags: list[str] | None
    username: str | None
    time_limit: int | None
    soft_time_limit: int | None
    container_image_name: str | None
    container_image_url: str | None
    container_image_urls: Mapping[str, str] | None
    container_mappings: Mapping[str, Any] | None
    runtime_options: Mapping[str, Any] | None
    context: Mapping[str, Any] | None
    needs: Mapping[str, Any] | None
    max_wait: int | None
    publish_overwrite_ok: bool
    retry: Mapping[str, Any] | bool | None
    traceparent: str | None
    tracestate: str | None


#: Fields that Avro carries as JSON texts.
_OBJECTS = ("container_mappings", "runtime_options", "context", "needs")
_NAMES = frozenset(Options.__annotations__)


def submission(
    job_type: str, payload: Mapping[str, Any], submission_id: str | None = None, **options: Unpack[Options]
) -> Submission:
    """Return a submission for `Client.submit_many`; without an id it gets a random one.

    An id of your own (of the data, say `granule/2026/332/17`) makes it safe to send it again: it makes the same jobs.
    Raises InvalidSubmissionError.
    """
    record = _options(options)
    if submission_id is None:
        return Submission(job_type, payload, options=record)
    if not is_id(submission_id):
        raise InvalidSubmissionError("submission_id: a text of 1 to 512 bytes is needed")
    return Submission(job_type, payload, submission_id, record)


def _options(options: Options) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - _NAMES:
        close = difflib.get_close_matches(name, _NAMES, 1)
        meant = f"do you mean {close[0]}?" if close else f"known are {', '.join(sorted(_NAMES))}"
        raise InvalidSubmissionError(f"{name}: there is no such option: {meant}")
    try:
        if "retry" in given:
            given["retry"] = orjson.dumps(checked(given["retry"])).decode()
        return given | {name: orjson.dumps(given[name]).decode() for name in _OBJECTS if name in given}
    except (TypeError, ValueError) as error:
        raise InvalidSubmissionError(f"options: {error}") from error
