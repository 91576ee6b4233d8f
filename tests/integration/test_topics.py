"""Creating topics on a real broker, and refusing what would move families between partitions."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from agents import admin
from pipeline.settings import KafkaSettings, Settings, TopicSettings
from tests.waiting import until


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings that share one prefix."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"

    def make(**topics: Any) -> Settings:
        sizes = {"inbox_partitions": 2, "submit_partitions": 1, "commands_partitions": 1} | topics
        return Settings(
            home=tmp_path, kafka=KafkaSettings(bootstrap=kafka), topics=TopicSettings(prefix=prefix, **sizes)
        )

    return make


def test_all_topics_are_created_once(settings: Callable[..., Settings]) -> None:
    first = admin.apply(settings())
    assert first == [(topic.name, admin.CREATED) for topic in settings().topology.fixed()]
    assert {state for _, state in admin.apply(settings())} == {admin.UNCHANGED}
    states = admin.describe(settings())
    assert [state.partitions for state in states] == [state.topic.partitions for state in states]
    assert not any(state.differing for state in states)


def test_a_setting_that_was_changed_by_hand_is_set_again(settings: Callable[..., Settings]) -> None:
    one = settings()
    admin.apply(one)
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, one.topology.inbox.name, incremental_configs=[entry])
    client = admin.client(one)
    for future in client.incremental_alter_configs([resource]).values():
        admin.result(future)
    (differing,) = until(lambda: [state.differing for state in admin.describe(one) if state.differing])
    assert differing["retention.ms"] == ("1000", str(30 * 86_400_000))
    changed = [name for name, state in admin.apply(one) if state == admin.CHANGED]
    assert changed == [one.topology.inbox.name]
    until(lambda: not any(state.differing for state in admin.describe(one)), what="the setting")


def test_another_number_of_partitions_is_refused_before_anything_changes(settings: Callable[..., Settings]) -> None:
    admin.apply(settings())
    with pytest.raises(admin.TopicError, match=r"jobs\.inbox has 2 partitions, the settings want 3"):
        admin.apply(settings(inbox_partitions=3, submit_partitions=1))
    with pytest.raises(admin.TopicError, match="partitions"):
        admin.check_ready(settings(inbox_partitions=3))
    admin.check_ready(settings())


def test_missing_topics_are_named(settings: Callable[..., Settings]) -> None:
    with pytest.raises(admin.TopicError, match=r"jobs\.submit.*jobstream topics apply"):
        admin.check_ready(settings())


def test_a_declared_queue_has_its_topic_and_is_described(settings: Callable[..., Settings]) -> None:
    one = settings()
    admin.apply(one)
    admin.declare_queue(one, "fast")
    admin.declare_queue(one, "fast")
    run = one.topology.run("fast")
    assert [state.partitions for state in admin.describe(one) if state.topic == run] == [1]
    assert (run.name, admin.UNCHANGED) in admin.apply(one)


@pytest.mark.parametrize("name", ["Fast", "a b", "", "x" * 81, "../x"])
def test_a_name_that_is_no_queues_is_refused(settings: Callable[..., Settings], name: str) -> None:
    with pytest.raises(admin.TopicError, match="no queue name"):
        admin.declare_queue(settings(), name)


def test_a_queue_that_the_broker_refuses_is_named(settings: Callable[..., Settings]) -> None:
    one = settings()
    admin.apply(one)
    admin.declare_queue(one, "a.b")
    # Kafka's metrics can't tell these two apart, so it takes only one
    with pytest.raises(admin.TopicError, match=r"jobs\.run\.a_b.*collides"):
        admin.declare_queue(one, "a_b")


def test_a_broker_that_is_not_there_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "CALL_TIMEOUT", 0.5)
    nowhere = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap="127.0.0.1:1"))
    with pytest.raises(OSError, match="transport"):
        admin.describe(nowhere)
