"""What the demo submits, and how it judges what became of it."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from ops.cluster.steps import silence
from ops.demo.errors import DemoError
from ops.demo.outcome import deviations, error_of
from ops.demo.stage import KEPT_RUNS, Stage
from ops.demo.submissions import LIMIT, Planned, plan
from pipeline.codec import Codec
from pipeline.identity import payload_hash
from pipeline.statuses import Status
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.request import Submission, parse

CONTAINER = {"container_image_name": "demo:1", "container_mappings": {"/host": "/opt/demo"}}


def received(one: Planned) -> Submission:
    """What the gate makes of a submission."""
    raw = one.encoded(Codec())
    return parse(Codec().decode("submission", raw), raw)


def by_label() -> dict[str, Planned]:
    return {one.label: one for one in plan("r", CONTAINER)}


def test_twelve_tiles_two_duplicates_and_one_failure_of_each_kind_are_submitted() -> None:
    planned = plan("r")
    assert Counter(one.expected for one in planned) == {Status.COMPLETED: 12, Status.DEDUPED: 2, Status.FAILED: 3}
    assert len({one.id for one in planned}) == len({one.label for one in planned}) == 17
    assert {one.as_json for one in planned} == {True, False}


def test_the_gate_takes_all_of_them_but_the_one_without_a_payload() -> None:
    for one in plan("r", CONTAINER):
        if one.label != "no payload":
            submission = received(one)
            assert submission.container_mappings == {"/host": "/opt/demo"}
            assert submission.submission_id == one.id
    invalid = by_label()["no payload"]
    with pytest.raises(UnacceptableError, match=invalid.reason):
        received(invalid)


def test_a_duplicate_has_the_payload_of_its_original_in_whichever_encoding_it_comes() -> None:
    planned = by_label()
    duplicates = [one for one in planned.values() if one.original]
    for one in duplicates:
        assert one.original is not None
        assert payload_hash(received(one).payload) == payload_hash(received(planned[one.original]).payload)
        assert one.id != planned[one.original].id
    hashes = Counter(payload_hash(received(one).payload) for one in planned.values() if one.label != "no payload")
    assert sorted(hashes.values())[-3:] == [1, 2, 2]


def test_the_limit_is_shorter_than_what_the_job_does() -> None:
    slow = received(by_label()["too slow"])
    assert slow.soft_time_limit == LIMIT
    assert slow.payload["linger"] > 10 * LIMIT


def outcome() -> tuple[list[Planned], dict[str, dict[str, Any]], list[Mapping[str, Any]]]:
    """Everything as it must be."""
    planned = plan("r")
    documents: dict[str, dict[str, Any]] = {
        one.id: {"job_id": f"job-{one.label}", "status": one.expected.value, "error": one.reason} for one in planned
    }
    for one in planned:
        if one.original:
            documents[one.id]["dedup_job"] = f"job-{one.original}"
    products: list[Mapping[str, Any]] = [
        {"job_id": f"job-{one.label}"} for one in planned if one.expected is Status.COMPLETED
    ]
    return planned, documents, products


def test_an_outcome_as_expected_has_no_deviations() -> None:
    assert deviations(*outcome()) == []


@pytest.mark.parametrize(
    ("label", "change", "said"),
    [
        ("tile 1,1", {"status": "job-failed", "error": "no disk"}, "job-failed instead of job-completed no disk"),
        ("tile 9,9", {"error": "another reason"}, "it failed, but with: another reason"),
        ("too slow", {"status": "job-completed"}, "job-completed instead of job-failed"),
        ("tile 0,0 again", {"dedup_job": "job-tile 0,1"}, "names job-tile 0,1 as its original"),
        ("tile 2,3 again", {"status": "job-completed"}, "job-completed instead of job-deduped"),
    ],
)
def test_every_deviation_is_said(label: str, change: dict[str, Any], said: str) -> None:
    planned, documents, products = outcome()
    documents[by_label()[label].id].update(change)
    (line,) = deviations(planned, documents, products)
    assert line.startswith(f"{label}: ")
    assert said in line


def test_a_missing_job_and_a_missing_product_are_deviations() -> None:
    planned, documents, products = outcome()
    del documents[by_label()["no payload"].id]
    assert deviations(planned, documents, products[1:]) == [
        "no payload: Elasticsearch has no job of it",
        "the query finds products of 11 jobs, not of the 12 that completed",
    ]


def test_an_error_is_one_line_with_the_last_thing_that_the_program_said() -> None:
    info = {"stderr": "Traceback:\n  in x\nValueError: too far\n\n[jobstream] stopped\n"}
    document = {"error": "the command failed\nwith exit code 2", "job": {"job_info": info}}
    assert error_of(document) == "the command failed with exit code 2: ValueError: too far"
    assert error_of({"error": "payload: Field required"}) == "payload: Field required"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # the stage sets these for its own installation
    for name in ("JOBSTREAM_HOME", "JOBSTREAM_CONFIG"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def test_a_folder_that_is_no_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DemoError, match="not a demo's folder"), Stage(tmp_path, "process", "r").occupied():
        pytest.fail("it was taken")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_new_run_keeps_the_latest_products_and_nothing_else_of_earlier_ones(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    stage = Stage(home, "process", "new")
    with stage.occupied():
        for number in range(KEPT_RUNS + 2):
            run = home / "products/terrain/v1.0" / f"run{number}"
            run.mkdir(parents=True)
            os.utime(run, (number, number))
        (home / "kafka").mkdir()
        (home / "cluster.toml").write_text("")
        cluster = stage.prepare(silence)
    assert not (home / "kafka").exists()
    kept = sorted(path.name for path in (home / "products/terrain/v1.0").iterdir())
    assert kept == [f"run{number}" for number in range(3, KEPT_RUNS + 2)]
    assert cluster.home == home.resolve()
    assert orjson.loads((home / "job_worker.json").read_bytes())["configs"][0]["type"] == "terrain"


def test_the_demo_does_not_listen_to_another_installations_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[kafka]\nbootstrap = "production:9092"\n')
    monkeypatch.setenv("JOBSTREAM_CONFIG", str(other))
    monkeypatch.setenv("JOBSTREAM_HOME", str(tmp_path / "other"))
    stage = Stage(tmp_path / "demo", "process", "r")
    with stage.occupied():
        settings = stage.prepare(silence).settings
    assert settings.kafka.bootstrap != "production:9092"
    assert settings.home == (tmp_path / "demo").resolve()
    assert settings.embedded.kafka_port == 0
