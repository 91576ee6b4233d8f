"""Runs the orchestrator as a process, with the gate in it unless the gate runs by itself."""

import sys

import structlog
from confluent_kafka import KafkaException

from agents import generations
from agents.admin import TopicError
from agents.bus import Publisher
from agents.faust_worker import FAILED, run_app
from agents.logging import configure
from agents.registry import codec
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)


def run(settings: Settings, *, gate: bool = True) -> int:
    """Run until SIGTERM or SIGINT; return 0, or 1 where Kafka or the topics aren't there."""
    from agents.orchestrator.app import Orchestrator

    configure(settings, "orchestrator")
    # the deliveries' thread must get its turn at once: each batch waits for it
    sys.setswitchinterval(0.0005)
    publisher = Publisher(settings, "jobstream-orchestrator", **{"linger.ms": 1})
    try:
        generations.check(settings)
        orchestrator = Orchestrator(settings, codec(settings), publisher)
    except (KafkaException, TopicError, OSError) as error:
        log.error(
            "can't start: `jobstream topics apply` creates topics that are missing",
            brokers=settings.kafka.bootstrap,
            error=str(error.args[0]),
        )
        return FAILED
    topics = [topic.name for topic in settings.topology.fixed()]
    inner = None
    try:
        inner = _start_gate(settings) if gate else None
        return run_app(orchestrator.app, settings, topics)
    finally:
        if inner is not None:
            inner.stop()
        publisher.close()


def _start_gate(settings: Settings):  # type: ignore[no-untyped-def]
    from agents.gate.main import Gate

    gate = Gate(settings)
    gate.start()
    return gate
