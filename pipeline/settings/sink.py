"""The sink's settings."""

from pydantic import Field

from pipeline.settings.section import Section


class SinkSettings(Section):
    """The sink (design §10)."""

    elasticsearch: str = Field("http://127.0.0.1:29200", description="URL of Elasticsearch")
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
