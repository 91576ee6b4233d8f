"""How agents reach Elasticsearch."""

from typing import Any

from elasticsearch import OrjsonSerializer

from pipeline.settings import SinkSettings


def client_options(settings: SinkSettings) -> dict[str, Any]:
    """Return what a client of elasticsearch-py is made with: one try a request, since callers decide on the next."""
    return {
        "hosts": [settings.elasticsearch],
        "request_timeout": settings.timeout,
        "max_retries": 0,
        "retry_on_timeout": False,
        "serializers": {"application/json": OrjsonSerializer()},
    }
