"""`python -m ops.bench.submitting`: how fast the client submits, beside plain producing of the same bytes.

A broker of its own; nobody takes what is submitted. The last line is JSON.
"""

import json
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from confluent_kafka import Producer

from agents import admin
from agents.bus import client_config
from ops.bench.installation import say, settings_of
from ops.client import Client
from ops.embedded.kafka import EmbeddedKafka
from ops.submitting import Submission, encoded
from pipeline.codec import Codec
from pipeline.partitioning import partition_of
from pipeline.settings import Settings

_WARM_UP = 5000
#: s between two looks at this process's memory
_LOOK = 0.02


class Memory:
    """The most memory that this process had inside, above what it had before (MiB)."""

    def __enter__(self) -> "Memory":
        self._process = psutil.Process(os.getpid())
        self._before = self.most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.grown = (self.most - self._before) / (1 << 20)

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            self.most = max(self.most, self._process.memory_info().rss)


def main(
    jobs: Annotated[int, typer.Option(min=1000, help="Submissions of each run.")] = 100_000,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each kind, one after the other.")] = 3,
    home: Annotated[Path, typer.Option(help="Emptied first.")] = Path(".jobstream/bench-submitting"),
) -> None:
    """Measure `Client.submit_many`: confirmed submissions a second, memory, and the ratio to plain producing.

    \b
    Examples:
      python -m ops.bench.submitting
      python -m ops.bench.submitting --jobs 1000000 --runs 1
    """
    shutil.rmtree(home, ignore_errors=True)
    server = EmbeddedKafka(home)
    try:
        given = settings_of(home, 1)
        settings = given.model_copy(update={"kafka": given.kafka.model_copy(update={"bootstrap": server.start()})})
        admin.apply(settings)
        figures = _measured(settings, jobs, runs)
    finally:
        server.wipe()
    print(json.dumps(figures))


def _measured(settings: Settings, jobs: int, runs: int) -> dict[str, Any]:
    client_run(settings, _WARM_UP, show=False)
    plain_run(settings, _WARM_UP)
    rates, plain, grown, cpu = [], [], [], []
    for number in range(1, runs + 1):
        plain.append(plain_run(settings, jobs))
        with Memory() as memory:
            spent = time.process_time()
            rates.append(client_run(settings, jobs, show=True))
            cpu.append((time.process_time() - spent) / jobs * 1e6)
        grown.append(memory.grown)
        say(f"run {number}: client {rates[-1]:,.0f}/s, plain {plain[-1]:,.0f}/s, memory grew by {grown[-1]:.1f} MiB")
    rate, beside = statistics.median(rates), statistics.median(plain)
    return {
        "submissions": jobs,
        "runs": runs,
        "client_per_s": [round(one, 1) for one in rates],
        "plain_per_s": [round(one, 1) for one in plain],
        "client_cpu_us": [round(one, 1) for one in cpu],
        "client_to_plain": round(rate / beside, 4),
        "memory_grew_mib": [round(one, 1) for one in grown],
        "load": round(os.getloadavg()[0], 2),
    }


def submissions(count: int) -> Iterator[Submission]:
    """Yield submissions as a catalogue's would be: some parameters, a URL, a tag."""
    for number in range(count):
        payload = {
            "granule": f"S1A_IW_SLC__1SDV_20261128T{number:06d}",
            "localize_urls": [f"https://data.example.org/granules/{number % 365:03d}/{number:09d}.zip"],
            "orbit": number % 175,
            "polarisations": ["VV", "VH"],
            "bounds": [-84.3304, 36.4462, -84.2463, 36.5421],
        }
        yield Client.submission("align", payload, tag="bench", priority=number % 10)


def client_run(settings: Settings, count: int, *, show: bool) -> float:
    """Return how many submissions a second the client had confirmed."""
    with Client(settings) as client:
        return count / client.submit_many(submissions(count), progress=show).seconds


def plain_run(settings: Settings, count: int) -> float:
    """Return how many records a second a plain producer had confirmed, of bytes that were made before."""
    codec, topic = Codec(), settings.topology.submit
    records = [
        (one.submission_id.encode(), encoded(codec, one), partition_of(one.submission_id, topic.partitions))
        for one in submissions(count)
    ]
    given = {"enable.idempotence": True, "acks": "all", "linger.ms": 2, "compression.type": "lz4"}
    producer = Producer(client_config(settings, "bench-plain") | given)
    confirmed = 0

    def stored(error: object, _message: object) -> None:
        nonlocal confirmed
        if error is not None:
            sys.exit(f"bench: {error}")
        confirmed += 1

    begun = time.monotonic()
    for key, value, partition in records:
        while True:
            try:
                producer.produce(topic.name, value, key, partition=partition, on_delivery=stored)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    producer.flush(60)
    seconds = time.monotonic() - begun
    if confirmed != count:
        sys.exit(f"bench: {confirmed} of {count} records were confirmed")
    return count / seconds


if __name__ == "__main__":
    typer.run(main)
