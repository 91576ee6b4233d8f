"""Reading a topic to its end: what stands in the way is said at once."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from agents.bus import read_to_end


def _client(*errors: int) -> Any:
    """A client that is told of these errors, and of nothing after."""
    told = iter(SimpleNamespace(error=lambda code=code: KafkaError(code)) for code in errors)
    return SimpleNamespace(
        get_watermark_offsets=lambda place, timeout: (0, 1),
        assign=lambda places: None,
        poll=lambda timeout: next(told, None),
        position=lambda places: [SimpleNamespace(partition=0, offset=-1001)],
    )


def test_a_topic_that_may_not_be_read_is_not_waited_for() -> None:
    with pytest.raises(KafkaException, match="authorization"):
        list(read_to_end(_client(KafkaError.TOPIC_AUTHORIZATION_FAILED), "jobs.settings", [0], timeout=0.2))


def test_what_passes_is_waited_for() -> None:
    with pytest.raises(TimeoutError):
        list(read_to_end(_client(KafkaError._ALL_BROKERS_DOWN), "jobs.settings", [0], timeout=0.2))
