"""Spoils records: bytes, numbers and lengths of Avro, structure of JSON."""

import json
import random
from collections.abc import Callable
from typing import Any

#: Bytes that a spoiled record has at most: somewhat more than the broker lets through.
MAX_BYTES = 1_200_000

#: Numbers at the edges of what some layer below takes for one.
NUMBERS = (
    -1,
    0,
    1,
    63,
    64,
    127,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    10**30,
    10**400,
)
TEXTS = (
    "",
    "\0",
    "a" * 600,
    "é" * 300,
    "😀",
    "../../etc/passwd",
    "job:",
    "{",
    "\udcff",
    "nan",
    "\u202e",
    "secret://X",
    "a\nb",
)
ODD = (None, True, False, [], {}, [[]], 0.1, 1e308, float("nan"), float("inf"), -0.0)

Mutator = Callable[[random.Random, bytes, list[bytes]], bytes]


def mutated(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Return the record spoiled once to four times; `others` are records to take parts from."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        data = chance.choice(_MUTATORS)(chance, data, others)[:MAX_BYTES]
    return data


def respelled(chance: random.Random, record: dict[str, Any], encode: Callable[[dict[str, Any]], bytes]) -> bytes:
    """Return the record with a few places made odd, by `encode` where it fits its schema then, else as JSON."""
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        record = spoiled(chance, record)
    try:
        value = encode(record) if chance.random() < 0.7 else json.dumps(record).encode()
    except (ValueError, OverflowError):
        value = json.dumps(record).encode()
    return value[:MAX_BYTES]


def varint(number: int) -> bytes:
    """Return the number as Avro has it; numbers of more than 64 bits make more bytes than a reader may take."""
    coded = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while coded > 127:
        out.append(coded & 127 | 128)
        coded >>= 7
    out.append(coded)
    return bytes(out)


def _flip(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    spoiled = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if spoiled:
            spoiled[chance.randrange(len(spoiled))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(spoiled)


def _cut(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: chance.randint(0, len(data))]


def _drop(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.randint(1, 9) :]


def _repeat(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    part = data[at : at + chance.randint(1, 40)]
    return data[:at] + part * chance.choice((2, 3, 50, 2000, 30_000)) + data[at:]


def _splice(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _number(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + varint(chance.choice(NUMBERS)) + data[at + chance.choice((0, 1, 2, 4)) :]


def _noise(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: chance.choice((0, 1, 2, 5, 10))] + chance.randbytes(chance.choice((0, 1, 9, 100, 5000)))


def _structure(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Spoil one place of a JSON object; other bytes are spoiled as such."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(chance, data, others)
    if not isinstance(value, dict):
        return _flip(chance, data, others)
    return json.dumps(spoiled(chance, value)).encode()


def spoiled(chance: random.Random, record: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with one place made odd, often a deep one; JSON within a text counts as a place too."""
    copy = dict(record)
    key = chance.choice([*copy, chance.choice(TEXTS)])
    value = copy.get(key)
    within = _object_in(value) if chance.random() < 0.8 else None
    text = within is not None
    value = within if text else value
    if isinstance(value, dict) and chance.random() < 0.8:
        value = spoiled(chance, value)
    elif isinstance(value, list) and value and chance.random() < 0.5:
        value = [*value, chance.choice((_odd(chance), value[0]))]
        value *= chance.choice((1, 1, 2, 200)) if len(str(value)) < 1000 else 1
    elif chance.random() < 0.1:
        copy.pop(key, None)
        return copy
    else:
        value = _odd(chance)
    copy[key] = json.dumps(value) if text else value
    return copy


def _object_in(value: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _nested(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    depth = chance.choice((60, 200, 1100, 100_000))
    inner = (opening * depth + "1" + closing * chance.choice((depth, 0))).encode()
    at = data.find(b":", chance.randint(0, len(data)))
    return inner if at < 0 else data[: at + 1] + inner + b"," + data[at + 1 :]


def _odd(chance: random.Random) -> Any:
    return chance.choice(
        (chance.choice(NUMBERS), chance.choice(TEXTS), chance.choice(ODD), "x" * chance.choice((1, 999, 900_000)))
    )


_MUTATORS: tuple[Mutator, ...] = (
    _flip,
    _flip,
    _cut,
    _drop,
    _repeat,
    _splice,
    _number,
    _number,
    _noise,
    _structure,
    _structure,
    _structure,
    _nested,
)
