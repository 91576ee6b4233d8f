"""The sink as a process."""

from agents.bus import Publisher
from agents.faust_worker import run_app
from agents.logging import configure
from agents.sink.app import sink_app
from pipeline.settings import Settings


def run(settings: Settings) -> int:
    """Index facts until SIGTERM or SIGINT; return the exit code, as `run_app` does.

    Nothing is acknowledged that isn't indexed or on jobs.dead, so that it may be killed at any moment and started
    again: what is then indexed a second time is the same.
    """
    configure(settings, "sink")
    publisher = Publisher(settings, settings.topology.name("sink-dead"))
    try:
        return run_app(
            sink_app(settings, publisher),
            settings,
            [settings.topology.events.name, settings.topology.task_events.name, settings.topology.dead.name],
        )
    finally:
        publisher.close()
