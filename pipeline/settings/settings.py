"""All sections together, and where their values come from."""

import json
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline.settings.embedded import EmbeddedSettings
from pipeline.settings.gate import GateSettings
from pipeline.settings.images import ImageSettings
from pipeline.settings.inputs import InputSettings
from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.ledger import LedgerSettings
from pipeline.settings.scheduler import SchedulerSettings
from pipeline.settings.section import Section
from pipeline.settings.security import SecuritySettings
from pipeline.settings.sink import SinkSettings
from pipeline.settings.tasks import TaskSettings
from pipeline.settings.topics import TopicSettings
from pipeline.settings.worker import WorkerSettings
from pipeline.topology import Topology

CLUSTER_FILE = "cluster.toml"


class Settings(BaseSettings):
    """All settings; sections are frozen, paths are resolved against the current folder."""

    model_config = SettingsConfigDict(
        env_prefix="JOBSTREAM_", env_nested_delimiter="__", extra="ignore", nested_model_default_partial_update=True
    )

    home: Path = Field(Path(".jobstream"), description="data of the embedded servers and agents")
    token_key: SecretStr | None = Field(None, description="key of the attempt tokens; none: HOME/token.key")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level that is logged")
    security: SecuritySettings = SecuritySettings()
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    gate: GateSettings = GateSettings()
    ledger: LedgerSettings = LedgerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    inputs: InputSettings = InputSettings()
    images: ImageSettings = ImageSettings()
    tasks: TaskSettings = Field(default_factory=TaskSettings)
    sink: SinkSettings = SinkSettings()
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before the TOML file, and the file before what `jobstream up` wrote."""
        config = Path(os.environ.get("JOBSTREAM_CONFIG", "jobstream.toml"))
        file = TomlConfigSettingsSource(settings_cls, config)
        home = Path(os.environ.get("JOBSTREAM_HOME") or file.toml_data.get("home") or ".jobstream")
        return (init_settings, env_settings, file, TomlConfigSettingsSource(settings_cls, home / CLUSTER_FILE))

    @model_validator(mode="after")
    def _submits_as_somebody_known(self) -> Self:
        name = self.kafka.submit_as
        if name is not None and name not in self.topics.principals:
            raise ValueError(f"kafka.submit_as: {name!r} is not among topics.principals")
        return self

    @property
    def topology(self) -> Topology:
        """The topics, as these settings size them."""
        return _topology(self.topics)

    @property
    def work_root(self) -> Path:
        """The worker's root work directory."""
        return (self.worker.root or self.home / "work").resolve()

    @property
    def product_store(self) -> Path:
        """The folder where products are published, or would be if there were no object store."""
        store = None if self.product_bucket else self.worker.store
        return Path(store or self.home / "products").resolve()

    @property
    def product_bucket(self) -> str | None:
        """The URL of the object store where products are published; None where it is a folder."""
        store = self.worker.store
        return store if isinstance(store, str) and "://" in store else None

    @property
    def input_cache(self) -> Path:
        """Where workers keep inputs for each other."""
        return (self.inputs.cache or self.home / "cache").resolve()

    @property
    def image_folder(self) -> Path:
        """Where workers tell each other about images."""
        return (self.images.folder or self.home / "images").resolve()

    def key(self) -> bytes:
        """Return the key of the attempt tokens, made on first use and readable by the owner alone."""
        if self.token_key is not None:
            return self.token_key.get_secret_value().encode()
        path = self.home / "token.key"
        if not path.exists():
            self._make_key(path)
        return path.read_bytes()

    @staticmethod
    def _make_key(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_hex(32).encode())
        try:
            # a link replaces nothing: of two processes that start at once, one key stays
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process read these settings, wherever they came from.

        It holds the token key where that was set: hand it to agents, never to jobs.
        """
        own = {f"JOBSTREAM_{name.upper()}": self._as_text(name) for name in type(self).model_fields}
        others = {name: value for name, value in os.environ.items() if name.upper().partition("__")[0] not in own}
        return others | {name: text for name, text in own.items() if text is not None}

    def _as_text(self, name: str) -> str | None:
        value = getattr(self, name)
        match value:
            case Section():
                return json.dumps(value.plain())
            case SecretStr():
                return value.get_secret_value()
            case Path():
                return str(value.resolve())
            case _:
                return None if value is None else str(value)


@lru_cache(maxsize=16)
def _topology(topics: TopicSettings) -> Topology:
    return Topology(**topics.model_dump())
