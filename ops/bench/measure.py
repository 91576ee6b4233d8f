"""The measurements, each on an installation that is up."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from agents.bus import Delivered
from ops.bench.errors import BenchError
from ops.bench.load import Lives, percentile, send_all, send_steadily
from ops.reading.facts import FactReader
from ops.submitting import Submitter
from pipeline.settings import Settings

#: Hears what is being done.
Say = Callable[[str], None]

#: Seconds without any fact after which a measurement gives up.
_SILENCE = 60.0
_POLL = 0.002


def throughput(settings: Settings, count: int, say: Say) -> dict[str, Any]:
    """Submit `count` jobs at once; return jobs a second from the first submission to the last completion."""
    tag = f"t{time.time_ns()}"
    with FactReader(settings) as reader, reader.follow() as follower, Submitter(settings) as submitter:
        lives = Lives()
        deliveries = send_all(submitter, tag, count)
        _until_all_completed(lives, follower, count, say)
        _note_submitted(lives, deliveries)
    span = (max(lives.completed.values()) - min(lives.submitted.values())) / 1000
    return {"jobs": count, "seconds": round(span, 2), "jobs_per_s": round(count / span, 1)}


def latency(settings: Settings, count: int, rate: float, say: Say) -> dict[str, Any]:
    """Submit `count` jobs at a steady rate; return percentiles of submit→start and submit→completed in ms."""
    lives = steadily(settings, count, rate, say)
    return {
        "submit_to_start_ms": _spread(lives.latencies(lives.started)),
        "submit_to_completed_ms": _spread(lives.latencies(lives.completed)),
    }


def steadily(settings: Settings, count: int, rate: float, say: Say) -> Lives:
    """Submit `count` jobs at a steady rate, and wait until all have completed."""
    tag = f"l{time.time_ns()}"
    with (
        FactReader(settings) as reader,
        reader.follow() as follower,
        Submitter(settings, **{"linger.ms": 0}) as submitter,
    ):
        lives = Lives()
        deliveries: dict[str, Future[Delivered]] = {}
        for name, delivery in send_steadily(submitter, tag, count, rate):
            if name:
                deliveries[name] = delivery
            lives.take(follower, _POLL)
        _until_all_completed(lives, follower, count, say)
        _note_submitted(lives, deliveries)
    return lives


def burst(settings: Settings, count: int, slots: int, duration: float, window: float, say: Say) -> dict[str, Any]:
    """Submit `count` jobs of `duration` s at once; return how busy `slots` were over `window` s after the first start.

    Ends with most of the jobs still waiting: the installation is not for use after it.
    """
    tag = f"b{time.time_ns()}"
    with FactReader(settings) as reader, reader.follow() as follower, Submitter(settings) as submitter:
        lives = Lives()
        send_all(submitter, tag, count, duration)
        begun = 0.0
        while not begun or time.monotonic() < begun + window:
            if not lives.take(follower, _SILENCE):
                raise BenchError(f"no fact for {_SILENCE:.0f} s; started: {len(lives.started)}")
            begun = begun or (time.monotonic() if lives.started else 0.0)
    first, last = min(lives.started.values()), max(lives.started.values())
    say(f"{len(lives.started)} of {count} started in {(last - first) / 1000:.0f} s")
    return {"slots": slots, "burst": count, "busy": round(_busy(lives, first, last, slots), 3)}


def _busy(lives: Lives, first: int, last: int, slots: int) -> float:
    """Return the share of the slots' time between two moments (ms) that jobs ran in."""
    ran = sum(
        min(lives.completed.get(name, last), last) - start for name, start in lives.started.items() if start <= last
    )
    return ran / (slots * max(1, last - first))


def _until_all_completed(lives: Lives, follower: Any, count: int, say: Say) -> None:
    told = 0
    while len(lives.completed) + len(lives.ended_otherwise) < count:
        if not lives.take(follower, _SILENCE):
            raise BenchError(f"no fact for {_SILENCE:.0f} s; completed: {len(lives.completed)} of {count}")
        if len(lives.completed) >= told + 1000:
            told = len(lives.completed)
            say(f"{told} of {count} completed")
    if lives.ended_otherwise:
        raise BenchError(f"{len(lives.ended_otherwise)} jobs did not complete: {lives.ended_otherwise[:3]}")


def _note_submitted(lives: Lives, deliveries: "dict[str, Future[Delivered]]") -> None:
    for name, delivery in deliveries.items():
        lives.submitted[name] = delivery.result(_SILENCE).timestamp


def _spread(ordered: list[int]) -> dict[str, float]:
    return {"p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99)}
