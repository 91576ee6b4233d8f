"""Settings of topics that a benchmark changes for a while; `topics apply` puts them back."""

from collections.abc import Mapping

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from agents.admin_client import admin_client
from agents.bus import CALL_TIMEOUT, client_config
from pipeline.settings import Settings


def alter(settings: Settings, topics: Mapping[str, Mapping[str, str]]) -> None:
    """Set settings of topics, by topic; raises KafkaException where the broker refuses."""
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
            ],
        )
        for name, config in topics.items()
    ]
    client = admin_client(client_config(settings, "bench-topics"))
    for done in client.incremental_alter_configs(resources, request_timeout=CALL_TIMEOUT).values():
        done.result(CALL_TIMEOUT)
