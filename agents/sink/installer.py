"""Puts the index templates into Elasticsearch before anything is written."""

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from agents.sink.unavailable import UnavailableError
from agents.sink.writer import persist
from pipeline.index.templates import templates
from pipeline.settings import SinkSettings

log = structlog.stdlib.get_logger(__name__)


async def install(client: AsyncElasticsearch, settings: SinkSettings) -> None:
    """Put each template, replacing an older one; waits for Elasticsearch as long as it takes.

    Without them the first document would decide its index's mapping. Indices that are there keep theirs.
    """
    await persist(lambda: _put_all(client, settings), "templates")


async def _put_all(client: AsyncElasticsearch, settings: SinkSettings) -> None:
    try:
        try:
            await _put(client, settings, geo_shape=True)
        except ApiError as error:
            if error.meta.status != 400 or "geo_shape" not in str(error.body):
                raise
            log.info("no geo_shape in this Elasticsearch: locations are kept, not indexed")
            await _put(client, settings, geo_shape=False)
    except (ApiError, TransportError) as error:
        raise UnavailableError(str(error)) from error


async def _put(client: AsyncElasticsearch, settings: SinkSettings, *, geo_shape: bool) -> None:
    wanted = templates(settings.index_prefix, settings.shards, settings.replicas, settings.refresh, geo_shape=geo_shape)
    for name, template in wanted.items():
        await client.indices.put_index_template(
            name=name,
            index_patterns=template["index_patterns"],
            priority=template["priority"],
            template=template["template"],
        )
