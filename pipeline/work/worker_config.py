"""`job_worker.json`: the commands that a worker runs by job type (spec §2.3)."""

from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Variable(_Model):
    """One variable of a command's environment."""

    key: str = Field(pattern=r"^[^=\x00]+$")
    value: str


class CommandConfig(_Model):
    """A command: `options` are taken literally, `arguments` may name parameters."""

    path: str = Field(min_length=1)
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()


class TypeConfig(_Model):
    """What a worker runs for one job type, and in which image if it has its own opinion on that."""

    type: str
    command: CommandConfig
    disk_usage: str | None = None
    container_image_name: str | None = None
    container_image_url: str | None = None
    container_image_urls: dict[str, str] | str | None = None
    container_mappings: dict[str, Any] = Field(default_factory=dict)
    runtime_options: dict[str, Any] = Field(default_factory=dict)
    dependency_images: tuple[dict[str, Any], ...] = ()

    @property
    def overrides_image(self) -> bool:
        """Whether the job's image gives way to this one: only if name and URL are both set."""
        return bool(self.container_image_name and self.container_image_url)


class JobWorkerConfig(_Model):
    """The whole file."""

    root_work_dir: str | None = None
    webdav_port: int | str | None = None
    webdav_url: str | None = None
    configs: tuple[TypeConfig, ...] = ()

    def of_type(self, job_type: str) -> TypeConfig | None:
        """Return the first entry for a job type."""
        return next((config for config in self.configs if config.type == job_type), None)

    def jobs_url(self, address: str) -> str | None:
        """Return what work directories' URLs begin with on the host of this address, None where nothing serves them."""
        if self.webdav_url:
            return self.webdav_url
        return f"http://{address}:{self.webdav_port}" if self.webdav_port else None

    @classmethod
    def load(cls, path: Path) -> "JobWorkerConfig":
        """Read a file; raises ValueError, naming it and everything that is wrong."""
        # only a worker that has such a file pays for what checks it
        from pipeline.jobtypes import check
        from pipeline.jobtypes.problems import InvalidError

        try:
            raw = orjson.loads(path.read_bytes())
            if found := check.problems(check.Kind.JOB_WORKER, raw, path.name):
                raise InvalidError(found)
            return cls.model_validate({key: value for key, value in raw.items() if value is not None})
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is no job_worker.json: {error}") from error
