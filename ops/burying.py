"""What operators do about dead letters: send one again through the front door, or note that it is dealt with."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from agents.bus import CALL_TIMEOUT, Delivered, Publisher
from agents.dead_letters import LETTER_HEADER, SUBMISSION_HEADER
from agents.registry import codec
from ops.reading.dead import Letter, Letters
from pipeline.codec import DecodeError
from pipeline.ledger.document import iso
from pipeline.messages.inbox import Inbox, Submitted
from pipeline.settings import Settings

RETRIED, DROPPED = "retried", "dropped"
#: s that the broker may take to store a record
DELIVERY_TIMEOUT = 15.0


class NotAgainError(Exception):
    """A letter can't be sent again; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a letter's record went, and what its submission is called if it brings no id of its own."""

    topic: str
    partition: int
    offset: int
    submission_id: str


class Undertaker:
    """Sends letters again and writes notes. Calls raise DeliveryError or OSError where the broker takes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._topology = settings.topology
        queues = (self._topology.tasks(queue) for queue in self._topology.task_queues)
        self._of_tasks = {topic.name for topic in (*queues, self._topology.task_retries)}
        self._codec = codec(settings)
        client: dict[str, Any] = {"message.timeout.ms": int(DELIVERY_TIMEOUT * 1000), "linger.ms": 0}
        self._publisher = Publisher(settings, self._topology.name("jobstream-undertaker"), **client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.close()

    def send_again(self, letter: Letter, by: str, reason: str = "") -> Sent:
        """Send a submission's bytes again, as they came, and note it; raises NotAgainError for any other letter.

        The record names the first letter and place that it had. So a submission without an id is called the same
        however often it is sent, and its jobs are made once. The note comes last: repeated after a crash, it does no
        harm.
        """
        if (refusal := self.refusal(letter)) is not None:
            raise NotAgainError(refusal)
        own = {LETTER_HEADER: letter.id.encode(), SUBMISSION_HEADER: letter.place.encode()}
        # one that came back keeps what it was called by at first
        own |= {name: value for name, value in letter.headers if name in own} if letter.again_of else {}
        others = [(name, value) for name, value in letter.headers if name not in own]
        topic = self._topology.submit_of(self._topology.principal_of(letter.topic))
        partition = letter.of_partition if 0 <= letter.of_partition < topic.partitions else 0
        sent = self._publisher.send(topic, letter.key or b"", letter.value, partition, [*others, *own.items()])
        done: Delivered = sent.result(DELIVERY_TIMEOUT + 5)
        place = {"topic": topic.name, "partition": done.partition, "offset": done.offset}
        self._note(letter, {"done": RETRIED, "by": by, "reason": reason, "to": place})
        return Sent(topic.name, done.partition, done.offset, own[SUBMISSION_HEADER].decode(errors="replace"))

    def drop(self, letter: Letter, by: str, reason: str = "") -> None:
        """Note that a letter is dealt with; it stays where it is."""
        self._note(letter, {"done": DROPPED, "by": by, "reason": reason})

    def refusal(self, letter: Letter) -> str | None:
        """Say why a letter can't be sent again, None for one that can."""
        topology = self._topology
        match letter.topic:
            case name if name in {one.name for one in topology.submits()}:
                return None if letter.value else "it has no bytes that could be sent"
            case topology.reports.name:
                return (
                    "reports can't be sent again: the attempt that it speaks of has ended or gone to another worker "
                    "since; `jobstream events JOB` says what became of the job"
                )
            case topology.control.name:
                return "an operator's request is asked for anew: `jobstream retry JOB` or `jobstream revoke JOB`"
            case topology.inbox.name:
                return f"nothing goes into the inbox beside the gate{self._came_from(letter)}"
            case topology.events.name:
                return "facts are in the log: a sink with a new JOBSTREAM_SINK__GROUP indexes them again"
            case topology.task_events.name:
                return "facts of tasks are in the log: a sink with a new JOBSTREAM_SINK__GROUP indexes them again"
            case name if name in self._of_tasks:
                return (
                    "tasks can't be sent again: some may have been done; `jobstream dead show` says what it was, and "
                    "`jobstream task submit` asks for it anew"
                )
        return f"{letter.topic[:200] or 'no topic'} is none that submissions come by"

    def _came_from(self, letter: Letter) -> str:
        try:
            message = Inbox.of(self._codec.decode("inbox", letter.value))
        except (DecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return ", and what this was can't be read"
        source = message.source
        if source is None or not isinstance(message.body, Submitted):
            return f"; it is a {message.body.name.removeprefix('jobstream.')}"
        return (
            f"; submission {message.body.submission_id} lies on {self._came_by(message)}, partition "
            f"{source.partition}, offset {source.offset}: submit that again under its id"
        )

    def _came_by(self, message: Inbox) -> str:
        known = message.principal if message.principal in self._topology.principals else None
        return self._topology.submit_of(known).name

    def _note(self, letter: Letter, note: dict[str, Any]) -> None:
        sent = self._publisher.send(self._topology.dead_notes, letter.id, orjson.dumps(note), 0)
        try:
            sent.result(CALL_TIMEOUT)
        except TimeoutError as error:
            raise OSError(f"{letter.id}: the broker took no note of it in {CALL_TIMEOUT:.0f} s") from error


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a letter: sent, would-be-sent, refused, dealt-with (before), unknown or dropped; and details."""

    letter_id: str
    outcome: str
    detail: str = ""


def send_all(
    letters: Letters,
    undertaker: Undertaker,
    ids: Iterable[str],
    done: Mapping[str, Mapping[str, Any]],
    by: str,
    why: str,
    *,
    rate: int,
    dry_run: bool,
) -> Iterator[Told]:
    """Send letters again that aren't `done`, at most `rate` a second, and yield what came of each; go on after any."""
    sent = 0
    for one, letter in letters.each(ids):
        note = done.get(one)
        if letter is None:
            yield Told(one, "unknown")
        elif note is not None:
            by_whom = f"{note.get('done')} by {note.get('by')} at {iso(note['time'])}"
            yield Told(one, "dealt-with", f"it was {by_whom}; --force sends it all the same")
        elif (refusal := undertaker.refusal(letter)) is not None:
            yield Told(one, "refused", refusal)
        elif dry_run:
            yield Told(one, "would-be-sent", letter.place)
        else:
            if sent and sent % rate == 0:
                time.sleep(1)
            place = undertaker.send_again(letter, by, why)
            sent += 1
            where = f"{place.topic} {place.partition}@{place.offset}"
            yield Told(one, "sent", f"to {where}, as submission {place.submission_id} if it brings no id")
