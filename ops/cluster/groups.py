"""Who is in a consumer group, by aiokafka's admin client.

librdkafka's (2.16) ends the whole process in an assertion, now and then, where a young broker doesn't know the group's
coordinator yet: just when an installation starts.
"""

import asyncio
import logging
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.settings import Settings

_STABLE = "Stable"


def members(settings: Settings, group: str, timeout: float) -> tuple[set[str], bool]:
    """Return the group's member ids, and whether it is stable; none where nobody answers within `timeout` seconds."""
    # who asks a broker that is just starting expects refusals
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        described = asyncio.run(asyncio.wait_for(_described(settings, group), timeout))
    except (KafkaError, OSError, TimeoutError):
        return set(), False
    for _error, name, state, _type, _protocol, inside, *_ in described:
        if name == group:
            return {member_id for member_id, *_ in inside}, state == _STABLE
    return set(), False


async def _described(settings: Settings, group: str) -> list[Any]:
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka.bootstrap, client_id="jobstream-up", **_security(settings)
    )
    try:
        await client.start()
        return [one for answer in await client.describe_consumer_groups([group]) for one in answer.groups]
    finally:
        await client.close()


def _security(settings: Settings) -> dict[str, Any]:
    security = settings.kafka.librdkafka()
    if not security:
        return {}
    # only secured brokers pay for Faust's import
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    from agents.faust_broker import credentials

    return dict(credentials_to_aiokafka_auth(credentials(security)))
