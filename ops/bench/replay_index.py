"""`python -m ops.bench.replay_index`: the index once more from the log, against plain bulk writes of the same."""

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import Producer
from elasticsearch import AsyncElasticsearch

from agents import offsets
from agents.admin import apply
from agents.bus import client_config, consumer
from agents.elastic import client_options
from agents.registry import codec
from agents.sink.announced import Announced
from agents.sink.installer import install
from agents.sink.writer import Writer
from ops.bench.errors import BenchError
from ops.bench.installation import say, settings_of, tell
from ops.bench.lives import MESSAGES, Life
from ops.cluster.file import Plan
from ops.cluster.installation import Cluster, ClusterError
from ops.embedded.errors import EmbeddedError
from ops.reading.log import Log
from ops.replaying.indexing import compare, rebuild
from ops.replaying.reading import records
from pipeline.index.documents import Action, plan
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.fact import Fact
from pipeline.settings import Settings

#: Of the rate of plain bulk writes, at least.
LEAST_RATIO = 0.5
#: Seconds that the sink may take for all, between two looks, and that the broker is waited for.
_SINK_PATIENCE, _LOOK, _PATIENCE = 14_400.0, 5.0, 120.0
_PLAIN, _REBUILT = "plain-", "rebuilt-"


def main(
    jobs: Annotated[int, typer.Option(min=10, help="Jobs, each with three facts.")] = 100_000,
    check: Annotated[bool, typer.Option(help="Exit code 1 where a document differs, or it is too slow.")] = False,
    home: Annotated[Path, typer.Option(help="Of the installation; emptied first.")] = Path(
        ".jobstream/bench-replay-index"
    ),
) -> None:
    """Measure `jobstream replay index`: is it the same as the live index, and how fast is it?

    The facts are those of the ledger's own decisions; the live index is the real sink's. The plain rate is that of the
    same documents, made ahead and sent by the sink's writer in the same batches: only the writing is timed. The last
    line is JSON.
    """
    shutil.rmtree(home, ignore_errors=True)
    cluster = Cluster(settings_of(home, 1), Plan(workers=0, engine="noop"))
    try:
        for name in ("kafka", "elasticsearch"):
            cluster.start(name, tell)
        apply(cluster.settings)
        figures = _measure(cluster, jobs)
    except (BenchError, ClusterError, EmbeddedError) as error:
        sys.exit(f"bench: {error}")
    finally:
        cluster.down(tell, timeout=20.0)
    for name, value in figures.items():
        print(f"{name:<14}  {value}")
    print(json.dumps(figures), flush=True)
    if check and not (figures["is_equal"] and figures["ratio"] >= LEAST_RATIO):
        sys.exit(f"bench-replay-index: equal: {figures['is_equal']}, {figures['ratio']} of the plain rate")


def _measure(cluster: Cluster, jobs: int) -> dict[str, Any]:
    settings = cluster.settings
    load = [round(os.getloadavg()[0], 1)]
    facts = _produce(settings, jobs)
    say(f"{facts} facts of {jobs} jobs; the sink indexes them")
    begun = time.monotonic()
    cluster.start("sink", tell)
    _await_sink(settings)
    live_s = time.monotonic() - begun
    say("plain bulk writes")
    plain_documents, plain_s = asyncio.run(_plain(settings))
    say("replay index")
    begun = time.monotonic()
    rebuilt = rebuild(settings, _REBUILT)
    rebuilt_s = time.monotonic() - begun
    say("comparing")
    compared = compare(settings, _REBUILT, whole=rebuilt.is_whole)
    load.append(round(os.getloadavg()[0], 1))
    plain, again = plain_documents / plain_s, rebuilt.documents / rebuilt_s
    return {
        "jobs": jobs,
        "facts": facts,
        "documents": rebuilt.documents,
        "plain_per_s": round(plain, 1),
        "rebuilt_per_s": round(again, 1),
        "ratio": round(again / plain, 3),
        "live_s": round(live_s, 1),
        "rebuilt_s": round(rebuilt_s, 1),
        "is_equal": compared.is_equal and not rebuilt.refused,
        "equal": dict(compared.equal),
        "differ": dict(compared.differ),
        "missing": dict(compared.missing),
        "load": load,
    }


def _produce(settings: Settings, jobs: int) -> int:
    """Write the facts of lives to jobs.events, as the ledger decides them."""
    topology, encoder, policy = settings.topology, codec(settings), Policy()
    failures: list[str] = []
    made = Producer(
        client_config(settings, "bench-facts")
        | {"enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4", "delivery.report.only.error": True}
        | {"on_delivery": lambda error, _: failures.append(str(error)), "queue.buffering.max.kbytes": 65_536}
    )
    count = 0
    for number in range(jobs):
        life = Life.of(number, 0, time.time_ns() // 1_000_000, number * MESSAGES)
        partition = topology.inbox_partition(life.family)
        for fact in _facts(life, partition, policy):
            value = encoder.encode("fact", fact.record())
            while True:
                try:
                    made.produce(topology.events.name, value, life.family, partition)
                    break
                except BufferError:
                    made.poll(0.1)
            count += 1
    if made.flush(_PATIENCE) or failures:
        raise BenchError(f"not all facts were written: {failures[:1]}")
    return count


def _facts(life: Life, partition: int, policy: Policy) -> list[Fact]:
    family, documents, facts = Family(life.family), dict[str, Document | None](), list[Fact]()
    for index, message in enumerate(life.messages()):
        at = At(partition, life.offset + index, life.time + index)
        decision = decide(family, message, at, policy, documents.get)
        family = decision.family
        documents.update(decision.documents)
        facts += decision.facts
    return facts


def _await_sink(settings: Settings) -> None:
    events = settings.topology.events
    client = consumer(settings, "bench-sink", settings.topology.name(settings.sink.group))
    deadline = time.monotonic() + _SINK_PATIENCE
    try:
        ends = offsets.ends(client, events.name, range(events.partitions))
        while True:
            done = offsets.committed(client, events.name, ends)
            left = sum(end - done.get(number, 0) for number, end in ends.items())
            if left <= 0:
                return
            if time.monotonic() > deadline:
                raise BenchError(f"the sink has {left} facts left after {_SINK_PATIENCE:.0f} s")
            time.sleep(_LOOK)
    finally:
        client.close()


async def _plain(settings: Settings) -> tuple[int, float]:
    """Write all documents under a prefix of their own; return how many, and the seconds that the writing took."""
    sink = settings.sink.model_copy(update={"index_prefix": _PLAIN})
    decoder = codec(settings)
    announced = Announced(settings, decoder)
    events = settings.topology.events
    written, seconds = 0, 0.0
    async with AsyncElasticsearch(**client_options(sink)) as client:
        await install(client, sink)
        writer = Writer(client)
        with Log(settings, follows=False) as log:
            for number in range(events.partitions):
                batch: list[Action] = []
                begin, end = log.bounds(events, number)
                for facts, message in enumerate(records(log, events, number, begin, end), 1):
                    batch += plan(Fact.of(decoder.decode("fact", message.value())), _PLAIN, announced).actions
                    if facts % sink.batch == 0 or message.offset() == end - 1:
                        begun = time.monotonic()
                        await writer.write(batch)
                        seconds += time.monotonic() - begun
                        written += len(batch)
                        batch = []
    announced.close()
    return written, seconds


if __name__ == "__main__":
    typer.run(main)
