"""HOME/cluster.toml: what an installation consists of and where its servers listen.

`pipeline.settings` reads the sections it knows as its last source, so that every other command finds the servers
that `jobstream up` started.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from pipeline.settings import CLUSTER_FILE, Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What an installation consists of.

    Without `kafka` or `elasticsearch` the servers that the settings name are used. `engine` is that of the workers.
    """

    kafka: bool = True
    elasticsearch: bool = True
    sink: bool = True
    workers: int = 1
    engine: str = "process"
    task_workers: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings ask for: both servers, and as many workers of either kind as they say."""
        embedded = settings.embedded
        return cls(workers=embedded.workers, engine=settings.worker.engine, task_workers=embedded.task_workers)


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """What the file says: a plan (None after `down`), ports that were chosen, and settings for the other commands."""

    plan: Plan | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    kafka: Mapping[str, Any] = field(default_factory=dict)
    sink: Mapping[str, Any] = field(default_factory=dict)
    topics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, home: Path) -> Self:
        """Read the file below `home`; an empty one where there is none or it can't be understood."""
        try:
            data = tomllib.loads((home / CLUSTER_FILE).read_text())
        except (OSError, ValueError):
            return cls()
        sections = {name: section for name, section in data.items() if isinstance(section, dict)}
        ports = {name: port for name, port in sections.get("ports", {}).items() if isinstance(port, int)}
        return cls(
            _plan(sections.get("plan")),
            ports,
            sections.get("kafka", {}),
            sections.get("sink", {}),
            sections.get("topics", {}),
        )

    def write(self, home: Path) -> None:
        """Write the file below `home`, whole or not at all."""
        sections = {
            "kafka": self.kafka,
            "sink": self.sink,
            "topics": self.topics,
            "ports": self.ports,
            "plan": asdict(self.plan) if self.plan else {},
        }
        text = "# written by `jobstream up`: settings of your own belong in jobstream.toml\n"
        for name, section in sections.items():
            if section:
                # a JSON text, number or truth value is one in TOML too
                lines = [f"{key} = {json.dumps(value)}" for key, value in section.items() if value is not None]
                text += "\n".join(["", f"[{name}]", *lines, ""])
        home.mkdir(parents=True, exist_ok=True)
        fresh = home / f"{CLUSTER_FILE}.{os.getpid()}"
        fresh.write_text(text)
        fresh.replace(home / CLUSTER_FILE)


def _plan(section: Mapping[str, Any] | None) -> Plan | None:
    if not section:
        return None
    known: dict[str, Any] = {one.name: one.type for one in fields(Plan)}
    return Plan(**{name: value for name, value in section.items() if type(value) is known.get(name)})
