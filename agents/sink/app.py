"""The sink's Faust app: an actor for each partition of jobs.events and tasks.events feeds the indexer, in order."""

import asyncio

import faust
from elasticsearch import AsyncElasticsearch
from faust.types import StreamT

from agents.bus import Publisher
from agents.dead_letters import DeadLetters
from agents.elastic import client_options
from agents.faust_worker import die, faust_app
from agents.registry import codec
from agents.sink.announced import Announced
from agents.sink.batcher import Batcher
from agents.sink.indexer import Held, Indexer
from agents.sink.installer import install
from agents.sink.writer import Writer
from pipeline.crash_points import here
from pipeline.settings import Settings


def sink_app(settings: Settings, publisher: Publisher) -> faust.App:
    """Return the app; the publisher is for jobs.dead and stays the caller's to close."""
    sink = settings.sink
    app = faust_app(settings, sink.group, session_ms=sink.session_ms, instance=sink.instance)
    batches: Batcher[Held] = Batcher(sink.batch, sink.linger_ms / 1000)

    async def read(stream: StreamT) -> None:
        # the indexer acknowledges: what is cancelled here was not
        async for event in stream.noack().events():
            await batches.put(Held(stream, event))

    async def index() -> None:
        try:
            async with AsyncElasticsearch(**client_options(sink)) as client:
                await install(client, sink)
                here("sink.installed")
                dead = DeadLetters(publisher, settings.topology)
                announced = Announced(settings, codec(settings))
                made = codec(settings), Writer(client), dead, batches, sink.index_prefix, announced
                await Indexer(*made, settings.topology.task_events.name).run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a task's exception would leave the app running without it
            die("the indexer failed", error)

    events = app.topic(settings.topology.events.name, key_type=bytes, value_type=bytes)
    app.agent(events, name="events", isolated_partitions=True, concurrency=1)(read)
    tasks = app.topic(settings.topology.task_events.name, key_type=bytes, value_type=bytes)
    app.agent(tasks, name="tasks", isolated_partitions=True, concurrency=1)(read)
    app.task(index)
    return app
