"""A source topic that is deleted and made anew under a running gate."""

from pathlib import Path

from agents.admin import apply, client, topic_ids
from agents.gate.gate import Gate
from pipeline.messages.control import ControlRequest
from pipeline.messages.inbox import Control
from tests.integration.gate_support import Site, settings_for
from tests.waiting import until


def _asked(one: Site, job: str) -> str | None:
    """Return the topic id that the ledger is told of a request, None while it isn't there."""
    found = [
        message.source for message in one.inbox() if isinstance(message.body, Control) and message.body.job_id == job
    ]
    return found[0].topic_id if found and found[0] is not None else None


def test_requests_on_a_topic_that_was_made_anew_come_with_its_own_id(kafka: str, tmp_path: Path) -> None:
    one = Site(settings_for(kafka, tmp_path))
    topic = one.topology.control
    gate = Gate(one.settings, lambda: None)
    gate.start()
    try:
        for job in ("a-1", "a-2"):
            _ask(one, job)
        first = until(lambda: _asked(one, "a-2"), what="the first topic's requests")
        assert first == topic_ids(one.settings, [topic.name])[topic.name]
        admin = client(one.settings)
        admin.delete_topics([topic.name])[topic.name].result(30)
        until(lambda: topic.name not in admin.list_topics(timeout=10).topics, what="the topic gone")
        apply(one.settings)
        second = topic_ids(one.settings, [topic.name])[topic.name]
        assert second != first
        _ask(one, "b-1")
        assert until(lambda: _asked(one, "b-1"), timeout=60, what="the second topic's request") == second
    finally:
        gate.stop()
        one.close()


def _ask(one: Site, job: str) -> None:
    value = one.codec.encode("control", ControlRequest("revoke", job).record())
    one.publisher.send(one.topology.control, b"key", value, one.topology.job_partition(job)).result(60)
