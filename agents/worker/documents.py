"""Run documents of grants: in the command itself, or in the inbox where they are too large for one."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from agents.bus import consumer
from pipeline.codec import Codec
from pipeline.identity import family_of_job, task_id
from pipeline.ledger.document import Document, iso, over
from pipeline.messages.command import Command, Reference
from pipeline.messages.inbox import Carried, Inbox, Submitted
from pipeline.settings import Settings

#: Seconds that reading a document from the inbox may take.
FETCH_TIMEOUT = 20.0
#: One document is wanted, not what follows it.
_LITTLE: dict[str, Any] = {"queued.max.messages.kbytes": 2048}


class UnreadableDocumentError(Exception):
    """The document of a grant can't be had; the text says why."""


class Documents:
    """Reads run documents; the inbox is read in a thread of its own, one document at a time."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._client: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, "documents")

    async def of(self, command: Command) -> dict[str, Any]:
        """Return the whole job of a grant; raises UnreadableDocumentError, after FETCH_TIMEOUT at the latest."""
        if command.reference is None:
            if command.document is None:
                raise UnreadableDocumentError("the grant has neither a document nor a reference")
            return _parsed(command.document)
        loop = asyncio.get_running_loop()
        inbox = await loop.run_in_executor(self._thread, self._fetch, command.reference)
        return document_in(inbox, command)

    def close(self) -> None:
        """Close the consumer; a read that is under way ends first."""
        self._thread.submit(lambda: self._client and self._client.close())
        self._thread.shutdown(wait=True, cancel_futures=False)

    def _fetch(self, reference: Reference) -> Inbox:
        topic = self._settings.topology.inbox.name
        if self._client is None:
            self._client = consumer(self._settings, f"worker-{self._settings.worker.id}-documents", None, **_LITTLE)
        try:
            self._client.assign([TopicPartition(topic, reference.partition, reference.offset)])
            return Inbox.of(self._codec.decode("inbox", self._read(self._client, reference)))
        except (KafkaException, OSError, ValueError, KeyError, TypeError) as error:
            raise UnreadableDocumentError(f"{topic}[{reference.partition}]@{reference.offset}: {error}") from error
        finally:
            # with nothing assigned nothing is fetched ahead
            self._client.unassign()

    def _read(self, client: Consumer, reference: Reference) -> bytes | None:
        deadline = time.monotonic() + FETCH_TIMEOUT
        while time.monotonic() < deadline:
            message = client.poll(0.5)
            if message is None or (message.error() and message.error().code() != KafkaError.OFFSET_OUT_OF_RANGE):
                continue
            if message.error() or message.offset() != reference.offset:
                raise UnreadableDocumentError(f"inbox record {reference} is no longer kept")
            value: bytes | None = message.value()
            return value
        raise UnreadableDocumentError(f"inbox record {reference} not read within {FETCH_TIMEOUT:.0f} s")


def document_in(inbox: Inbox, command: Command) -> dict[str, Any]:
    """Return the job that an inbox message holds as its grant would carry it; raises UnreadableDocumentError."""
    body = inbox.body
    if isinstance(body, Carried):
        return _carried(body, command)
    jobs = body.jobs if isinstance(body, Submitted) else ()
    job = next((job for job in jobs if job.job_id == command.job_id), None)
    if job is None or not isinstance(body, Submitted):
        raise UnreadableDocumentError(f"the inbox record that the grant names has no job {command.job_id}")
    document = _parsed(job.body)
    if command.document is not None:
        document = over(document, _parsed(command.document))
    info = document.get("job_info")
    queued = datetime.fromtimestamp(inbox.time / 1000, UTC).isoformat(timespec="microseconds")
    return {
        **document,
        "job_info": {**(info if isinstance(info, Mapping) else {}), "time_queued": queued.replace("+00:00", "Z")},
        "attempt": command.attempt,
        "task_id": task_id(command.job_id, command.attempt),
        "submission_id": body.submission_id,
        "payload_hash": body.payload_hash,
        "family": family_of_job(command.job_id),
    }


def _carried(message: Carried, command: Command) -> dict[str, Any]:
    """Return the job whose document was moved to a new generation of the inbox."""
    try:
        document = Document.load(message.document.encode())
    except (ValueError, TypeError) as error:
        raise UnreadableDocumentError(f"the inbox record that the grant names holds no document: {error}") from error
    if document.job_id != command.job_id:
        raise UnreadableDocumentError(f"the inbox record that the grant names has no job {command.job_id}")
    body = document.body
    if command.document is not None:
        body = over(body, _parsed(command.document))
    info = body.get("job_info")
    return {
        **body,
        "job_id": command.job_id,
        "job_info": {**(info if isinstance(info, Mapping) else {}), "time_queued": iso(document.queued_at)},
        "attempt": command.attempt,
        "task_id": task_id(command.job_id, command.attempt),
        "submission_id": document.submission_id,
        "payload_hash": document.payload_hash,
        "family": family_of_job(command.job_id),
    }


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableDocumentError(f"the document is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableDocumentError(f"the document is no object but a {type(document).__name__}")
    return document
