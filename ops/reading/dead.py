"""Dead letters from jobs.dead, and what was done about them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from confluent_kafka import Message

from agents.dead_letters import LETTER_HEADER
from agents.gate.dead import OFFSET, ORIGINAL, PARTITION, REASON, TOPIC
from ops.reading.log import Log
from ops.reading.table import read_table
from pipeline.masking import masked_text
from pipeline.settings import Settings

#: Letters that are read in one go, from the newest back.
_BLOCK = 200
_ID = re.compile(r"(\d{1,9})-(\d{1,18})", re.ASCII)
#: Characters of a header's value, and bytes of a letter's own value, that are shown.
_SHOWN, _PREVIEW = 200, 2000


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: where it lies (`id` is partition-offset, `time` ms), where it came from, why, and how it came.

    `partition` and `offset` are -1 where the letter doesn't say. `headers` are the record's own, without the letter's.
    """

    partition: int
    offset: int
    time: int
    topic: str
    of_partition: int
    of_offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    size: int

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read it; whatever a header lacks is said as nothing."""
        every = [(str(name), value or b"") for name, value in message.headers() or ()]
        told = {name: value.decode(errors="replace") for name, value in every if not name.startswith(ORIGINAL)}
        own = tuple((name.removeprefix(ORIGINAL), value) for name, value in every if name.startswith(ORIGINAL))
        value: bytes | None = message.value()
        return cls(
            message.partition() or 0,
            message.offset() or 0,
            message.timestamp()[1],
            told.get(TOPIC, ""),
            _number(told.get(PARTITION)),
            _number(told.get(OFFSET)),
            told.get(REASON, ""),
            message.key(),
            value,
            own,
            len(value or b""),
        )

    @property
    def id(self) -> str:
        """What the letter is called."""
        return f"{self.partition}-{self.offset}"

    @property
    def place(self) -> str:
        """Where its record was."""
        return f"{self.topic}-{self.of_partition}-{self.of_offset}"

    @property
    def again_of(self) -> str:
        """The letter that was sent again and came back as this one, "" for any other."""
        return dict(self.headers).get(LETTER_HEADER, b"").decode(errors="replace")

    def record(self, note: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return it as a JSON object without its bytes, secrets masked; `note` is what was done about it."""
        again = {"again_of": self.again_of} if self.again_of else {}
        return {
            "id": self.id,
            "time": self.time,
            "topic": self.topic,
            "partition": self.of_partition,
            "offset": self.of_offset,
            "reason": masked_text(self.reason),
            "bytes": self.size,
            **again,
            **({"note": dict(note)} if note else {}),
        }

    def shown_headers(self) -> dict[str, str]:
        """Return the record's own headers as they may be shown."""
        shown = {}
        for name, value in self.headers:
            text = f"{name}: {value.decode(errors='replace')}"
            shown[name] = masked_text(text).removeprefix(f"{name}: ")[:_SHOWN]
        return shown

    def preview(self) -> str:
        """Return the beginning of its bytes as text, secrets masked."""
        # more than is shown: a secret must not be cut off from what tells that it is one
        text = (self.value or b"")[: 4 * _PREVIEW].decode(errors="replace")
        return masked_text(text)[:_PREVIEW]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: `topic` by name or its end, `reason` a part of it in any case, `since` in ms."""

    topic: str | None = None
    reason: str | None = None
    since: int | None = None

    def fits(self, letter: Letter) -> bool:
        """Say whether a letter is among them."""
        if self.topic is not None and not letter.topic.endswith(self.topic):
            return False
        return self.reason is None or self.reason.casefold() in letter.reason.casefold()


class Letters:
    """Reads dead letters. Calls raise `ops.reading.log.BrokerError` where Kafka can't be reached."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topology.dead
        self._log = Log(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def newest(self, wanted: Wanted) -> Iterator[Letter]:
        """Yield the letters that fit, the newest first, without their bytes; reads no further back than asked for."""
        starts = self._log.since(self._topic, range(self._topic.partitions), wanted.since or 0)
        ends = self._log.ends(self._topic, range(self._topic.partitions))
        for number, last in ends.items():
            end = last
            while end > starts[number]:
                begin = max(starts[number], end - _BLOCK)
                read = self._log.read(self._topic, number, begin, end)
                # one value at a time: a block of the largest would be hundreds of MiB
                block = [replace(Letter.of(message), value=None) for message in read]
                yield from (letter for letter in reversed(block) if wanted.fits(letter))
                end = begin

    def get(self, letter_id: str) -> Letter | None:
        """Return a letter with its bytes, None where there is none (any longer)."""
        return next(iter(self.each([letter_id])))[1]

    def each(self, letter_ids: Iterable[str]) -> Iterator[tuple[str, Letter | None]]:
        """Yield each id with its letter, None where there is none; those that lie near each other are read together.

        Otherwise the oldest come first, as their records came.
        """
        places: dict[tuple[int, int], str] = {}
        for letter_id in letter_ids:
            found = _ID.fullmatch(letter_id)
            if found is not None and int(found[1]) < self._topic.partitions:
                places[int(found[1]), int(found[2])] = letter_id
            else:
                yield letter_id, None
        for run in _runs(sorted(places)):
            (number, first), last = run[0], run[-1][1]
            missing = set(run)
            for message in self._log.read(self._topic, number, first, last + 1):
                place = (number, message.offset() or 0)
                if place in missing:
                    missing.discard(place)
                    yield places[place], Letter.of(message)
            for place in sorted(missing):
                yield places[place], None


def _runs(places: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    run: list[tuple[int, int]] = []
    for place in places:
        if run and (place[0] != run[-1][0] or place[1] - run[-1][1] > _BLOCK):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def notes(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what was done about letters, by id: `done` is retried or dropped, `by`, `reason`, `time` (ms)."""
    rows = read_table(settings, settings.topology.dead_notes)
    return {letter_id: {**row.json(), "time": row.time} for letter_id, row in rows.items()}


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else -1
