"""Index templates."""

from typing import Any

import pytest

from pipeline.index.templates import templates


@pytest.fixture
def made() -> dict[str, Any]:
    return templates("p-", 3, 1, "5s", geo_shape=True)


def test_each_kind_of_index_has_its_aliases_behind_the_prefix(made: dict[str, Any]) -> None:
    found = {name: (one["index_patterns"], list(one["template"]["aliases"])) for name, one in made.items()}
    assert found == {
        "p-job_status": (["p-job_status-*"], ["p-job_status", "p-job_status-current"]),
        "p-job_events": (["p-job_events-*"], ["p-job_events"]),
        "p-task_status": (["p-task_status-*"], ["p-task_status", "p-task_status-current"]),
        "p-grq": (["p-grq_*"], ["p-grq"]),
    }


def test_shards_copies_and_refresh_come_from_the_settings(made: dict[str, Any]) -> None:
    for one in made.values():
        index = one["template"]["settings"]["index"]
        assert (index["number_of_shards"], index["number_of_replicas"], index["refresh_interval"]) == (3, 1, "5s")


@pytest.mark.parametrize("name", ["params", "localize_urls", "context", "command"])
def test_what_users_may_shape_as_they_like_is_kept_and_not_indexed(made: dict[str, Any], name: str) -> None:
    job = made["p-job_status"]["template"]["mappings"]["properties"]["job"]["properties"]
    assert job[name]["enabled"] is False


def test_a_location_is_indexed_where_the_server_can(made: dict[str, Any]) -> None:
    def location(all_: dict[str, Any]) -> Any:
        return all_["p-grq"]["template"]["mappings"]["properties"]["location"]

    assert location(made) == {"type": "geo_shape"}
    assert location(templates("p-", 1, 0, "1s", geo_shape=False))["enabled"] is False
