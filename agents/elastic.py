"""How agents reach Elasticsearch."""

import ssl
from typing import Any

from elasticsearch import OrjsonSerializer

from pipeline.settings import SinkSettings


def client_options(settings: SinkSettings) -> dict[str, Any]:
    """Return what a client of elasticsearch-py is made with: one try a request, since callers decide on the next.

    Certificates are checked, always. Raises OSError where a file of the settings can't be read.
    """
    options = settings.credentials()
    if settings.elasticsearch.startswith("https:"):
        options["ssl_context"] = ssl.create_default_context(cafile=settings.ca_file)
    return options | {
        "hosts": [settings.elasticsearch],
        "request_timeout": settings.timeout,
        "max_retries": 0,
        "retry_on_timeout": False,
        "serializers": {"application/json": OrjsonSerializer()},
    }
