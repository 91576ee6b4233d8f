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
#: The broker's error code for a group that there is not.
_NO_GROUP = 69


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


def clients(settings: Settings, group: str, timeout: float) -> list[str]:
    """Return who is in the group, as client id and host; none where there is no such group.

    Raises OSError where the broker doesn't say within `timeout` seconds: nobody may be taken for gone by that.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        described = asyncio.run(asyncio.wait_for(_described(settings, group), timeout))
    except (KafkaError, TimeoutError) as error:
        raise OSError(f"who is in group {group} can't be asked: {error or 'no answer'}") from error
    found = [one for one in described if one[1] == group]
    if not found or found[0][0] not in (0, _NO_GROUP):
        raise OSError(f"who is in group {group} can't be asked: {found[0][0] if found else 'no answer'}")
    return sorted(f"{client_id} at {host}" for _member, client_id, host, *_ in found[0][5])


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
