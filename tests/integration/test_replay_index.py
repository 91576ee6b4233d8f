"""The index once more from the log, beside what the sink wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from tests.integration.sink_bench import DAY, SinkBench, make_fact

PRODUCT = {"id": "p-1", "dataset": "area", "system_version": "v1", "ipath": "hysds::data/area"}


@pytest.fixture
def bench(kafka: str, elasticsearch_url: str, tmp_path: Path) -> Iterator[SinkBench]:
    bench = SinkBench(kafka, elasticsearch_url, tmp_path)
    yield bench
    bench.close()


def index(bench: SinkBench, *words: str):  # type: ignore[no-untyped-def]
    env = {name: text for name, text in bench.settings.environment().items() if name.startswith("JOBSTREAM_")}
    return CliRunner().invoke(app, ["replay", "index", *words, "-o", "json"], env=env)


def test_what_is_built_again_is_what_the_sink_wrote_until_somebody_touches_it(bench: SinkBench) -> None:
    facts = [make_fact(number, seq) for number in range(30) for seq in (1, 2)]
    facts += [make_fact(number, 3, document={"products": [PRODUCT | {"id": f"p-{number}"}]}) for number in range(30)]
    bench.produce(facts)
    bench.produce_raw([("x", b"rubbish")])
    bench.start()
    bench.until_acknowledged()
    again = f"{bench.name}-again-"
    for _ in range(2):
        result = index(bench, "--into", again, "--compare")
        assert result.exit_code == exits.OK, result.output
        told = json.loads(result.stdout)
        assert told["compared"]["equal"] == {"job_status": 30, "job_events": 90, "grq": 30}
        assert (told["facts"], sum(told["refused"].values())) == (91, 1)
    assert bench.documents("job_status", again) == bench.documents("job_status")
    first, second, third, fourth = (make_fact(number, 1).job_id for number in range(4))
    live = f"{bench.name}-job_status-{DAY}"
    with Elasticsearch(bench.elasticsearch) as client:
        client.index(index=live, id=first, document={"status": "else"}, version=3, version_type="external_gte")
        client.delete(index=live, id=second)
        client.index(index=live, id="alien", document={"status": "x"})
        client.index(index=live, id=third, document={"status": "x"}, version=9, version_type="external_gte")
        client.index(index=f"{bench.name}-grq_v1_area", id="ingested", document={"dataset": "area"})
    result = index(bench, "--into", again, "--compare")
    assert result.exit_code == exits.FAILED
    compared = json.loads(result.stdout)["compared"]
    assert {kind: compared[kind] for kind in ("differ", "missing", "newer", "only_live")} == {
        "differ": {"job_status": 1},
        "missing": {"job_status": 1},
        "newer": {"job_status": 1},
        "only_live": {"job_status": 1, "grq": 1},
    }
    by_id = {one["id"]: one["fields"] for one in compared["documents"]}
    assert by_id.keys() == {first, second}
    assert ("status" in by_id[first], by_id[second]) == (True, [])
    assert fourth not in by_id


def test_of_a_span_only_its_facts_are_written_and_nothing_is_called_left_over(bench: SinkBench) -> None:
    bench.produce([make_fact(1, 1)])
    with Elasticsearch(bench.elasticsearch) as client:
        client.index(index=f"{bench.name}-job_status-{DAY}", id=make_fact(1, 1).job_id, document={"status": "x"})
    result = index(bench, "--into", f"{bench.name}-span-", "--from", "2099-01-01", "--compare")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["facts"], told["compared"]["only_live"]) == (exits.OK, 0, {})


def test_the_live_index_and_what_is_no_prefix_are_refused(bench: SinkBench) -> None:
    assert index(bench, "--into", f"{bench.name}-").exit_code == exits.USAGE
    assert index(bench, "--into", "Big*").exit_code == exits.USAGE
