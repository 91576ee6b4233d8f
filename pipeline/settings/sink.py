"""The sink's settings."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from pipeline.settings.section import Section, secret


class SinkSettings(Section):
    """The sink (design §10)."""

    elasticsearch: str = Field("http://127.0.0.1:29200", description="URL of Elasticsearch")
    ca_file: Path | None = Field(None, description="certificates that its is checked by, PEM; none: the system's")
    api_key: SecretStr | None = Field(None, description="its API key, encoded; better in a file")
    api_key_file: Path | None = Field(None, description="file of the API key, which only this process's user reads")
    user: str | None = Field(None, description="who asks, where there is no API key")
    password: SecretStr | None = Field(None, description="the user's password; better in a file")
    password_file: Path | None = Field(None, description="file of the password, which only this process's user reads")
    batch: int = Field(500, ge=1, le=10_000, description="facts per bulk request")
    linger_ms: int = Field(200, ge=0, description="ms to wait for a batch to fill")
    timeout: float = Field(30.0, gt=0, description="seconds that a request may take")
    index_prefix: str = Field("", pattern=r"^[a-z0-9._-]{0,40}$", description="before each index's name")
    shards: int = Field(1, ge=1, le=64, description="primary shards of each index")
    replicas: int = Field(0, ge=0, le=9, description="copies of each shard; 0 for a single node")
    refresh: str = Field("1s", pattern=r"^\d+(ms|s|m)$", description="time until a written document is found")
    group: str = Field("jobstream-sink", pattern=r"^[a-z0-9._-]{1,80}$", description="a new one reads all facts again")
    instance: str | None = Field(None, description="static group instance id; none: host name and home")
    session_ms: int = Field(10_000, ge=3000, description="ms until a dead sink's partitions move")

    def credentials(self) -> dict[str, Any]:
        """Return what elasticsearch-py shows the server, never to be logged; OSError where a file can't be read."""
        key = secret(self.api_key, self.api_key_file)
        if key is not None:
            return {"api_key": key}
        password = secret(self.password, self.password_file)
        return {} if self.user is None or password is None else {"basic_auth": (self.user, password)}
