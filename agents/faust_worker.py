"""A Faust app as a process: no web port, a bounded stop, and an exit code that tells a crash from a stop."""

import asyncio
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import faust
import structlog
from confluent_kafka import KafkaException

from agents.admin_client import admin_client
from agents.bounded import bounded
from agents.bus import CALL_TIMEOUT, client_config
from agents.faust_broker import broker_urls, credentials
from agents.faust_recovery import OrderedTableManager, SteadyConsumer
from agents.held_event import HeldEvent
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: s that a stop may take; the process ends all the same then, and what was not acknowledged is read again
STOP_TIMEOUT = 15.0
#: s that partitions are kept by a process that takes no new records, because what it writes to is away
HOLD_TIMEOUT = 86_400.0
#: records that wait in memory for each partition's agent
BUFFER = 256
#: exit code of a process that couldn't go on
FAILED = 1


def faust_app(
    settings: Settings, name: str, *, session_ms: int = 10_000, instance: str | None = None, **options: Any
) -> faust.App:
    """Return an app whose id and consumer group are the topic prefix + `name`; `options` go to faust.App.

    Values and keys are bytes, nothing is created on the broker by itself, events are held until `acknowledge`, and
    the group knows the process by `instance` (by default its host and home), so that one that was killed and started
    again gets its partitions back at once; else they move after `session_ms`. A second process of the same instance
    ends the first.
    """
    home = settings.home.resolve()
    folder = app_folder(settings, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    defaults: dict[str, Any] = {
        "broker": broker_urls(settings.kafka.bootstrap),
        "broker_credentials": credentials(settings.kafka.librdkafka()),
        "broker_client_id": f"{settings.topology.name(name)}-{os.getpid()}",
        "broker_session_timeout": session_ms / 1000,
        "broker_heartbeat_interval": min(3.0, session_ms / 3000),
        "broker_max_poll_interval": HOLD_TIMEOUT,
        "broker_request_timeout": max(30.0, 2 * session_ms / 1000),
        "broker_commit_interval": 1.0,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": instance or _instance(name, str(home)),
        "consumer_max_fetch_size": 2_097_152,
        "producer_max_request_size": 2_097_152,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "datadir": folder,
        "stream_buffer_maxsize": BUFFER,
        "stream_wait_empty": False,
        "store": "memory://",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "worker_redirect_stdouts": False,
        "autodiscover": False,
        "Event": HeldEvent,
        "TableManager": OrderedTableManager,
    }
    app = _App(settings.topology.name(name), **(defaults | options))
    app.settings = settings
    return app


def app_folder(settings: Settings, name: str) -> Path:
    """Return the folder where the app of this name keeps its tables."""
    return settings.home.resolve() / "faust" / name


class _App(faust.App):  # type: ignore[misc]  # Faust is untyped here
    """An app whose agents end the process where an exception leaves one; Faust would only start that actor again."""

    #: Faust's, so that what services say of themselves is as quiet as the rest of it
    logger = logging.getLogger("faust.app")
    #: for the clients that tables are read with
    settings: Settings

    def _new_transport(self) -> Any:
        transport = super()._new_transport()
        transport.Consumer = SteadyConsumer
        return transport

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        die("an agent failed", exc, name=agent.name)


def _instance(name: str, home: str) -> str:
    """Return what stays the same over restarts and differs between machines and homes."""
    return f"{name}-{socket.gethostname()}-{hashlib.sha256(home.encode()).hexdigest()[:8]}"


def die(reason: str, error: BaseException | None = None, **fields: Any) -> NoReturn:
    """End the process at once with exit code 1: what it was doing is not acknowledged and is done again.

    What leaves an agent's body ends here by itself; tasks beside the agents must call it.
    """
    log.critical(reason, exc_info=error, **fields)
    _exit(FAILED)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def run_app(app: faust.App, settings: Settings, topics: Sequence[str] = ()) -> int:
    """Run the app until SIGTERM or SIGINT and return 0; return 1 where Kafka or one of `topics` isn't there.

    Ends the process with exit code 1, not returning, where the app can't start, one of its services crashes, or the
    stop takes longer than STOP_TIMEOUT. Call it in the main thread of a process that runs nothing else.
    """
    if not _topics_exist(settings, topics):
        return FAILED
    app.conf.web_enabled = False
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = _Worker(app, loop)
    try:
        return loop.run_until_complete(_serve(worker))
    finally:
        _close(loop)


def _topics_exist(settings: Settings, topics: Sequence[str]) -> bool:
    try:
        # naming one topic in the question could create it
        admin = admin_client(client_config(settings, "jobstream-check"))
        there = bounded(lambda: admin.list_topics(timeout=CALL_TIMEOUT), CALL_TIMEOUT).topics
    except (KafkaException, TimeoutError) as error:
        log.error("Kafka can't be reached", brokers=settings.kafka.bootstrap, error=str(error))
        return False
    missing = [name for name in topics if name not in there]
    if missing:
        log.error("topics are missing: `jobstream topics apply` creates them", missing=missing)
    return not missing


class _Worker(faust.Worker):  # type: ignore[misc]  # Faust is untyped here
    """Faust's worker without its command line: our logging, our signals, no spinner."""

    def __init__(self, app: faust.App, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False, daemon=False)
        self.spinner = None

    def install_signal_handlers(self) -> None:
        """Install none: Faust's SIGUSR2 would stop the process in a debugger."""

    async def on_startup_finished(self) -> None:
        """Say that the app runs."""
        log.info("ready", app=self.app.conf.id)


async def _serve(worker: _Worker) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(worker.start())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and (error := starting.exception()) is not None:
        log.critical("could not start", error=str(error) or repr(error), exc_info=error)
        _exit(FAILED)
    if not stop.is_set():
        ended = asyncio.create_task(worker.wait_until_stopped())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if worker.crashed or not stop.is_set():
        die("crashed", worker.crash_reason)
    starting.cancel()
    return await _stop(worker)


async def _stop(worker: _Worker) -> int:
    log.info("stopping")
    # a thread: a loop that stands still must not keep the process
    watch = threading.Timer(STOP_TIMEOUT, die, ("the stop took too long",))
    watch.daemon = True
    watch.start()
    await worker.stop()
    watch.cancel()
    log.info("stopped")
    return 0


def _close(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
