"""The installation under test: a broker and an index of its own, and two of each agent that there may be two of."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from agents.admin import apply
from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.kafka import EmbeddedKafka
from pipeline.settings import KafkaSettings, Settings, SinkSettings, TopicSettings
from tests.chaos.load import KNOWN
from tests.chaos.process import Process

#: Leases and sessions of 6 s, so that a death is made good within a few; the ratios are those of the defaults.
SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "ledger": {
        "lease_ms": 6000,
        "tick_ms": 500,
        # half of it is how long its loop may stand still, which a busy machine has it do
        "session_ms": 10_000,
        "retry_backoff_ms": 200,
        "retry_backoff_max_ms": 2000,
        # a worker's death is no fault of a job's, however often it hits one here
        "max_attempts": 100,
        "retries": {"exit:75": {"attempts": 100, "backoff_ms": 200, "backoff_max_ms": 1000}},
        # what ended is forgotten within the run, so that the sweep has something to do
        "document_ms": 60_000,
        "window_ms": 3_600_000,
    },
    "gate": {"session_ms": 6000},
    "scheduler": {"session_ms": 6000, "silence_ms": 3000, "claim_retry_ms": 3000, "view_ms": 500, "rest_max_ms": 1000},
    "worker": {
        "heartbeat_ms": 1500,
        "status_ms": 500,
        "slots": 4,
        "grace": 1.0,
        "kill_grace": 1.0,
        "drain_failures": 0,
        "metadata": "off",
    },
    "sink": {"session_ms": 6000, "linger_ms": 100},
}
#: Where a product goes: a place that follows from its job's payload alone, so that a second one would collide.
RULE = {
    "ipath": "chaos::data/P",
    "match_pattern": r"/(?P<id>P-\d+)$",
    "publish": {"location": "{id}", "urls": ["{location}"]},
}
AGENTS = ("gate", "orchestrator-1", "orchestrator-2", "scheduler-1", "scheduler-2", "worker-1", "worker-2", "sink")
#: s that an agent may take to end in order
STOP_TIMEOUT = 60.0
Tell = Callable[[str], None]


class Site:
    """The servers' settings, and the agents by name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home
        self.agents = {name: self._agent(name) for name in AGENTS}

    def _agent(self, name: str) -> Process:
        kind, _, number = name.partition("-")
        home, settings = self.home, self.settings
        command = [kind]
        if kind == "worker":
            command = ["worker", "--id", name, "--engine", "process"]
        elif kind in ("orchestrator", "scheduler"):
            # the second of a pair is on a machine of its own, as far as it can tell
            home = self.home / f"home-{number}"
            command += ["--no-gate"] if kind == "orchestrator" else []
        environment = settings.model_copy(update={"home": home}).environment()
        key = {"JOBSTREAM_TOKEN_KEY": settings.key().decode()}
        return Process(name, command, home, self.home / "logs" / f"{name}.log", environment | key)

    def cli(self, *arguments: str, timeout: float = 900.0) -> "subprocess.CompletedProcess[str]":
        """Run `jobstream` as an operator does."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "ops.cli.main", "--home", str(self.home), *arguments],
            env=self.settings.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def stop(self) -> dict[str, int | None]:
        """Stop the agents that run in order; return each one's exit code, -9 for one that had to be killed."""
        running = {name: agent for name, agent in self.agents.items() if agent.signal(signal.SIGTERM)}
        deadline = time.monotonic() + STOP_TIMEOUT
        codes: dict[str, int | None] = {}
        for name, agent in running.items():
            if agent.runs and agent.wait(max(0.1, deadline - time.monotonic())) is None:
                agent.signal(signal.SIGKILL)
                agent.wait(10.0)
            codes[name] = 0 if agent.stood_still else agent.code
        return codes


@contextmanager
def site_at(home: Path, tell: Tell) -> Iterator[Site]:
    """An installation with its topics, no agent running; all gone after, the data stays."""
    home = home.resolve()
    kafka, search = EmbeddedKafka(home), EmbeddedElasticsearch(home, heap_mib=384)
    site: Site | None = None
    try:
        tell("starting Kafka and Elasticsearch")
        bootstrap, url = kafka.start(), search.start()
        rules = home / "datasets.json"
        rules.write_bytes(orjson.dumps({"datasets": [RULE]}))
        sections = {**SECTIONS, "worker": {**SECTIONS["worker"], "datasets_file": rules}}
        settings = Settings(
            home=home,
            kafka=KafkaSettings(bootstrap=bootstrap),
            sink=SinkSettings(elasticsearch=url),
            topics=TopicSettings(inbox_partitions=4, submit_partitions=4, principals=(KNOWN,)),
        )
        for name, values in sections.items():
            section = getattr(settings, name)
            checked = section.model_validate({**section.model_dump(), **values})
            settings = settings.model_copy(update={name: checked})
        apply(settings)
        site = Site(settings)
        yield site
    finally:
        if site is not None:
            site.stop()
        search.stop()
        kafka.stop()
