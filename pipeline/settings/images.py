"""Settings of jobs' images."""

from pathlib import Path

from pydantic import Field

from pipeline.settings.section import Section


class ImageSettings(Section):
    """How workers bring the container images of jobs (spec §6)."""

    folder: Path | None = Field(None, description="what workers of one engine share about images; none: HOME/images")
    registry: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(:\d+)?(/[a-z0-9._/-]+)?$",
        description="registry that images are pulled from, HOST[:PORT][/PATH]; none: none is pulled",
    )
    max_mib: int = Field(102_400, ge=1, description="MiB that an image's archive may have")
    timeout: float = Field(3000.0, gt=0, description="s that a job's images may take, waiting for others included")
    keep_mib: int = Field(
        51_200,
        ge=0,
        description="MiB of images loaded for jobs that stay in the engine, the least used go; 0: all stay",
    )
    need_digest: bool = Field(False, description="load no archive whose URL lacks #sha256=…")
