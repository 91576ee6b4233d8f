"""docs/asyncapi.yaml, made from the topology and the schemas: `python -m ops.asyncapi` writes it.

It says for readers, tools and generators of clients what docs/architecture.md says for people: every topic, its
records, keys, headers and settings, as of the default settings. A unit test fails where it is behind the code.
"""

import inspect
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import yaml

from pipeline import __version__
from pipeline.messages import cloud_event, mark, trace
from pipeline.topic import Topic
from pipeline.topology import QUEUE_NAME, Topology

DOCUMENT = Path(__file__).parent.parent / "docs" / "asyncapi.yaml"
#: What others than our own processes write, and read; all else is between these.
_WRITTEN, _READ = ("submit", "control", "tasks"), ("events", "datasets", "dead", "logs", "task_events")
_AVRO = "application/vnd.apache.avro;version=1.9.0"
#: Of topics whose records are in no schema: what they are.
_PLAIN = {"dead": "application/octet-stream"}
_JSON = "application/json"
_QUEUE = {"queue": {"description": f"A queue's name: {QUEUE_NAME.pattern}"}}

Node = dict[str, Any]


def document(topology: Topology | None = None) -> Node:
    """Return the whole document; what it lists depends on nothing but the code and the topology."""
    topics = dict(_topics(topology or Topology()))
    schemas = dict.fromkeys(topic.schema for topic, _ in topics.values() if topic.schema)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "jobstream",
            "version": __version__,
            "description": (
                "Containerised jobs over Kafka. Channels that are tagged public are for everybody, as far as the "
                "broker lets them; the others are between jobstream's own processes, and may be read, never written. "
                "Records are Avro in the single-object encoding, or in Confluent's with a registry; submissions and "
                "tasks may be JSON, told apart by the first byte. Partitions follow from the key by murmur2, as "
                "in Java's clients."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": cloud_event.CONTENT_TYPE,
        "channels": {name: _channel(name, topic, told) for name, (topic, told) in topics.items()},
        "operations": dict(_operations()),
        "components": {
            "messages": {name: _message(name, topic, told) for name, (topic, told) in topics.items()},
            "schemas": {str(name): _schema(str(name)) for name in schemas},
        },
    }


def _topics(topology: Topology) -> Iterator[tuple[str, tuple[Topic, str]]]:
    """Yield each kind of topic by its name in the topology, and what its docstring says."""
    for name, member in vars(Topology).items():
        if isinstance(member, property):
            topic, told = getattr(topology, name), inspect.getdoc(member.fget)
        elif name in ("run", "tasks"):
            topic, told = member(topology, "{queue}"), inspect.getdoc(member)
        else:
            continue
        if isinstance(topic, Topic):
            yield name, (topic, " ".join((told or "").split()))


def _channel(name: str, topic: Topic, told: str) -> Node:
    public = name in (*_WRITTEN, *_READ)
    made: Node = {
        "address": topic.name,
        "title": topic.name,
        "description": f"{told} Written by: {topic.written_by}.",
        "messages": {name: _ref("components/messages", name)},
    }
    if "{queue}" in topic.name:
        made["parameters"] = _QUEUE
    return {
        **made,
        "tags": [{"name": "public" if public else "internal"}],
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _configuration(topic: Topic) -> Node:
    settings = topic.config()
    policies = settings["cleanup.policy"].split(",")
    return {
        "cleanup.policy": policies,
        "retention.ms": int(settings["retention.ms"]),
        "max.message.bytes": int(settings["max.message.bytes"]),
    }


def _operations() -> Iterator[tuple[str, Node]]:
    """Yield what jobstream does for others; the rest is its own business."""
    for action, names in (("receive", _WRITTEN), ("send", _READ)):
        for name in names:
            yield (
                f"{action}-{name}",
                {
                    "action": action,
                    "channel": _ref("channels", name),
                    "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
                },
            )


def _message(name: str, topic: Topic, told: str) -> Node:
    made: Node = {
        "name": name,
        "title": topic.name,
        "summary": told,
        "contentType": cloud_event.CONTENT_TYPE if topic.schema else _PLAIN.get(name, _JSON),
    }
    if topic.schema:
        made["payload"] = _ref("components/schemas", topic.schema)
    headers = _headers(name)
    if headers:
        made["headers"] = headers
    made["bindings"] = {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}}
    return made


def _headers(name: str) -> Node:
    traced = {
        trace.TRACEPARENT: _text("W3C trace context of the sender; carried on to facts and commands"),
        trace.TRACESTATE: _text("goes with traceparent"),
    }
    if name in ("events", "datasets", "task_events"):
        known = {
            "ce_specversion": {"type": "string", "const": cloud_event.VERSION},
            "ce_id": _text("the same however often the record is written"),
            "ce_source": _text("/jobstream/ and the topic"),
            "ce_type": _text("jobstream. and what happened"),
            "ce_subject": _text("the job, task or dataset"),
            "content-type": {"type": "string", "const": cloud_event.CONTENT_TYPE},
        }
        timed = {} if name == "datasets" else {"ce_time": {"type": "string", "format": "date-time"}, **traced}
        return {"type": "object", "properties": {**known, **timed}, "required": sorted(known)}
    if name == "submit":
        return {"type": "object", "properties": {**traced, mark.HEADER: _text("of a replay: its mark")}}
    return {}


def _schema(name: str) -> Node:
    raw = (resources.files("schemas") / f"{name}.avsc").read_bytes()
    return {"schemaFormat": _AVRO, "schema": orjson.loads(raw)}


def _ref(where: str, name: str) -> Node:
    return {"$ref": f"#/{where}/{name}"}


def _text(told: str) -> Node:
    return {"type": "string", "description": told}


class _Dumper(yaml.SafeDumper):
    """Writes what comes twice twice: anchors are no part of the document."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text() -> str:
    """Return the document as YAML."""
    return yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    DOCUMENT.write_text(text())
    sys.stdout.write(f"{DOCUMENT} is up to date\n")
