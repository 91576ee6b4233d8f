"""What a family was in one generation of the inbox, as messages of the next: its state in parts, and documents.

So the new inbox holds all that its tables come from, and whoever folds it needs nothing else.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from pipeline.ledger.case import Case
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family, Job, Stub
from pipeline.messages.inbox import Carried
from pipeline.topic import KIB

#: Bytes of a part, as far as its jobs are smaller.
PART = 256 * KIB


def parts(family: Family) -> Iterator[Carried]:
    """Yield the messages that give the family's state again, one after the other; none may be left out."""
    head = {"payload_hash": family.payload_hash, "sources": family.sources}
    jobs: dict[str, Any] = {}
    done: dict[str, Any] = {}
    size = 0
    for into, name, one in (
        *((jobs, name, job) for name, job in family.jobs.items()),
        *((done, name, stub) for name, stub in family.done.items()),
    ):
        length = len(orjson.dumps(one)) + len(name)
        if size and size + length > PART:
            yield _part(head, jobs, done)
            jobs.clear()
            done.clear()
            size = 0
        into[name] = one
        size += length
    yield _part(head, jobs, done)


def carried(case: Case, message: Carried) -> None:
    """Take over a part of a family, or a document: a worker finds a large one where this message is."""
    if message.document:
        document = Document.load(message.document.encode())
        case.remember(replace(document, partition=case.at.partition, offset=case.at.offset))
    if message.state:
        part = orjson.loads(message.state)
        family = case.family
        case.decision.family = replace(
            family,
            payload_hash=part["payload_hash"],
            sources={**family.sources, **part["sources"]},
            jobs={**family.jobs, **{name: Job.of(job) for name, job in part["jobs"].items()}},
            done={**family.done, **{name: Stub.of(stub) for name, stub in part["done"].items()}},
        )


def _part(head: dict[str, Any], jobs: dict[str, Any], done: dict[str, Any]) -> Carried:
    return Carried(orjson.dumps({**head, "jobs": jobs, "done": done}).decode())
