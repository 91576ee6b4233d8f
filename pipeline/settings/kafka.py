"""How the brokers and the schema registry are reached."""

from pydantic import Field

from pipeline.settings.section import Section


class KafkaSettings(Section):
    """How every agent reaches the brokers."""

    bootstrap: str = Field("127.0.0.1:29092", description="brokers, host:port with commas between")
    client: dict[str, str] = Field(default_factory=dict, description="further librdkafka settings (security, …)")
    registry_url: str | None = Field(None, description="Confluent-compatible schema registry; none: single-object Avro")
    registry_timeout: float = Field(5.0, gt=0, description="seconds that a call to the registry may take")
