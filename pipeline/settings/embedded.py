"""Settings of the servers that `jobstream up` starts."""

import os
from pathlib import Path

from pydantic import Field

from pipeline.settings.section import Section


class EmbeddedSettings(Section):
    """The servers that `jobstream up` starts (design §8)."""

    kafka_port: int = Field(29092, ge=0, le=65535, description="0: any free port")
    controller_port: int = Field(29093, ge=0, le=65535, description="0: any free port")
    elasticsearch_port: int = Field(29200, ge=0, le=65535, description="0: any free port")
    transport_port: int = Field(29300, ge=0, le=65535, description="0: any free port")
    kafka_release: str = Field("4.3", pattern=r"^(4\.3|3\.9)$", description="release of Kafka: 4.3 or 3.9")
    kafka_heap_mib: int = Field(512, ge=128, description="MiB")
    elasticsearch_heap_mib: int = Field(512, ge=256, description="MiB")
    cache: Path = Field(
        default_factory=lambda: Path(os.environ.get("JOBSTREAM_CACHE", Path.home() / ".cache" / "jobstream")),
        description="downloads, shared by all projects",
    )
    workers: int = Field(1, ge=0, le=64, description="workers that `jobstream up` starts")
    task_workers: int = Field(0, ge=0, le=64, description="task workers that `jobstream up` starts")
