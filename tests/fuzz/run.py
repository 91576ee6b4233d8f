"""One run: seeds, spoiled again and again, until the time or the number is reached."""

import random
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.codec import Codec
from tests.fuzz.corpus import Seed, seeds
from tests.fuzz.mutation import mutated, respelled
from tests.fuzz.schema import Fuzzed
from tests.fuzz.target import Target, peak_mib

#: MiB that all inputs together may add to what the process had after its first good records.
GROWTH_MIB = 256
#: MiB of address space: a reader that reaches for more fails here and not on the machine.
ADDRESS_MIB = 4096
#: Up to here an input has odd values, above the next one a foreign schema, between the two its bytes are odd.
_RESPELLED, _FOREIGN = 0.5, 0.85


@dataclass(frozen=True)
class Found:
    """An input that broke something: what repeats it, and what was seen."""

    kind: str
    value: bytes
    error: str


@dataclass(frozen=True)
class Report:
    """What a run did."""

    inputs: int
    seconds: float
    came: dict[str, int]
    slowest: float
    grown_mib: int
    found: Found | None


def run(seed: int, seconds: float, inputs: int, tell: Callable[[int, float], None] = lambda *_: None) -> Report:
    """Spoil records until so many seconds or inputs are over, or one breaks something; the same seed gives the same."""
    registry = Fuzzed(seed)
    codecs = [Codec(), Codec(registry)]
    good = seeds(codecs)
    values = [one.value for one in good]
    with tempfile.TemporaryDirectory() as home:
        target = Target(codecs[1], Path(home))
        try:
            for one in good:
                target.take(one.kind, one.value)
            return _spoil(random.Random(seed), target, good, values, seconds, inputs, tell)
        finally:
            target.close()


def _spoil(
    chance: random.Random,
    target: Target,
    good: list[Seed],
    values: list[bytes],
    seconds: float,
    inputs: int,
    tell: Callable[[int, float], None],
) -> Report:
    begun, before, done = time.monotonic(), peak_mib(), 0
    found: Found | None = None
    while found is None and done < inputs and (passed := time.monotonic() - begun) < seconds:
        done += 1
        kind, value = _input(chance, target, chance.choice(good), values)
        found = _taken(target, kind, value, before)
        tell(done, passed)
    return Report(done, time.monotonic() - begun, dict(target.came), target.slowest, peak_mib() - before, found)


def _input(chance: random.Random, target: Target, seed: Seed, values: list[bytes]) -> tuple[str, bytes]:
    way = chance.random()
    if way < _RESPELLED:
        return seed.kind, respelled(chance, seed.record, partial(target.codec.encode, seed.kind))
    value = mutated(chance, seed.value, values)
    if way > _FOREIGN:
        value = b"\0" + chance.choice(Fuzzed.OTHERS).to_bytes(4, "big") + value[5:]
    return seed.kind, value


def _taken(target: Target, kind: str, value: bytes, before: int) -> Found | None:
    try:
        target.take(kind, value)
    except Exception as error:  # whatever it is, it would have ended the gate
        return Found(kind, value, f"{type(error).__name__}: {error}"[:1000])
    if peak_mib() - before > GROWTH_MIB:
        return Found(kind, value, f"the process has grown by {peak_mib() - before} MiB")
    return None


def bound_memory() -> None:
    """Let this process have so much address space and no more."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_MIB << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
