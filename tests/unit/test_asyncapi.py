"""docs/asyncapi.yaml is what the code says, whole, and valid.

asyncapi-3.0.0.json is the specification's own schema (@asyncapi/specs 6.11.1, Apache-2.0), without its texts and
without the bindings of other protocols.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ops import asyncapi
from pipeline.messages import cloud_event
from pipeline.messages.dataset import DatasetPublished
from pipeline.messages.fact import Fact
from pipeline.messages.task import TaskFact
from pipeline.topology import Topology

MADE = asyncapi.document()
FACT = Fact("f-1", "f", "s", "h", 1, "job-queued", 1, 1_764_000_000_007, "{}", 0, 0, 0, "1")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(Path(__file__).with_name("asyncapi-3.0.0.json").read_text()))


def test_the_document_is_that_of_the_code() -> None:
    assert asyncapi.DOCUMENT.read_text() == asyncapi.text(), "python -m ops.asyncapi brings it up to date"
    assert yaml.safe_load(asyncapi.text()) == MADE


def test_it_is_valid(validator: jsonschema.Draft7Validator) -> None:
    assert [error.message for error in validator.iter_errors(MADE)] == []


@pytest.mark.parametrize(
    "broken",
    [
        lambda made: made.pop("info"),
        lambda made: made["channels"]["events"].update(adress="x"),
        lambda made: made["channels"]["events"]["bindings"]["kafka"].update(partitions=0),
        lambda made: made["operations"]["send-events"].update(action="publish"),
        lambda made: made["components"]["messages"]["events"].update(payload=7),
    ],
)
def test_what_is_not_valid_would_be_seen(validator: jsonschema.Draft7Validator, broken: Any) -> None:
    made = deepcopy(MADE)
    broken(made)
    assert list(validator.iter_errors(made))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for one in node.values():
            yield from references(one)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(MADE):
        found: Any = MADE
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_every_topic_is_a_channel_with_its_schema_and_key() -> None:
    topology = Topology()
    listed = {channel["address"]: name for name, channel in MADE["channels"].items()}
    for topic in (*topology.fixed(), topology.run("q")):
        if topic in topology.changelogs():
            continue
        name = listed[topic.name.replace("tasks.default", "tasks.{queue}").replace("run.q", "run.{queue}")]
        message = MADE["components"]["messages"][name]
        assert message.get("payload", {}).get("$ref", "").rpartition("/")[2] == (topic.schema or "")
        assert message["bindings"]["kafka"]["key"]["description"] == topic.key


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("events", cloud_event.of_fact(FACT, "t")),
        ("task_events", cloud_event.of_task_fact(TaskFact(task_id="t", seq=1, status="s", attempt=1), "t")),
        ("datasets", cloud_event.of_dataset(DatasetPublished("e", "d", "", "", "", "", "", 0, "", ""), "t")),
    ],
)
def test_the_headers_are_those_that_are_written(name: str, headers: cloud_event.Headers) -> None:
    schema = MADE["components"]["messages"][name]["headers"]
    written = {key: value.decode() for key, value in headers}
    jsonschema.validate(written, schema)
    assert written.keys() <= schema["properties"].keys()


def test_an_installation_with_a_prefix_has_its_own_addresses() -> None:
    assert asyncapi.document(Topology(prefix="x."))["channels"]["submit"]["address"] == "x.jobs.submit"
