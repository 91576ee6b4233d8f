import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.tree import JobTree
from pipeline.processors.plan import Allowed, plan
from pipeline.triage.copying import Taking, globs
from pipeline.triage.identity import triage_id
from pipeline.triage.triage import described

JOB = {"job_id": "fam-1", "task_id": "7d4a0a52-0000-5000-8000-000000000001", "params": {"tile": 3}}
DEFAULT = "triaged_job-fam-1_task-7d4a0a52-0000-5000-8000-000000000001"


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        (None, DEFAULT),
        ("failed-{job_id}-{job[params][tile]}-{job_context[site]}", "failed-fam-1-3-here"),
        ("{absent}", DEFAULT),
        ("{job.__class__}", DEFAULT),
        ("{job_id:>999999999}", DEFAULT),
        ("../{job_id}", DEFAULT),
        (7, DEFAULT),
    ],
)
def test_the_id_is_as_the_context_wants_it_or_the_default(wanted: Any, made: str) -> None:
    assert triage_id(JOB, {"site": "here", "_triage_id_format": wanted}) == made


def test_the_triage_of_a_job_named_after_a_triage_dataset_is_named_after_the_first_job() -> None:
    assert triage_id({**JOB, "job_id": "triaged_job-fam-9_task-0a-1"}, {}).startswith("triaged_job-fam-9_task-7d4a")


def test_an_id_is_never_longer_than_an_id_may_be() -> None:
    assert len(triage_id({**JOB, "job_id": "x" * 200}, {})) <= 200


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    for name in ("_stdout.txt", "_job.json", "run.log", "data.bin", "_deep/__pycache__/x", "out/a.txt", "out/b.nc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def take(job_dir: Path, *additional: str, budget: int = 1 << 20) -> tuple[set[str], list[str]]:
    """Take into a new directory; return what is there, files and empty directories, and what was left out."""
    target = job_dir / "triage"
    target.mkdir()
    taking = Taking(JobTree(job_dir), target, budget, lambda: None)
    taking.take(additional)
    there = {path for path in target.rglob("*") if path.is_file() or not any(path.iterdir())}
    return {str(path.relative_to(target)) for path in there}, taking.left


ALWAYS = {"_stdout.txt", "_job.json", "run.log", "_deep/__pycache__/x"}


def test_special_files_their_directories_and_logs_are_taken(job_dir: Path) -> None:
    assert take(job_dir) == (ALWAYS, [])


def test_globs_take_more_and_what_has_a_name_already_gets_another(job_dir: Path) -> None:
    (job_dir / "more").mkdir()
    (job_dir / "more" / "a.txt").write_text("another")
    found, _ = take(job_dir, "out/*.txt", "more/a.txt", "*.absent")
    names = sorted(found - ALWAYS)
    assert (names[0], len(names)) == ("a.txt", 2)
    assert names[1].startswith("a.txt.")
    assert (job_dir / "triage" / names[1]).read_text() == "another"


def test_links_to_files_become_files_and_what_leads_outside_or_nowhere_is_left_out(job_dir: Path) -> None:
    (job_dir.parent / "secret").write_text("secret")
    for name, target in {
        "_inside": "data.bin",
        "_outside": "../secret",
        "_broken": "absent",
        "_loop": ".",
        "_up": "..",
    }.items():
        (job_dir / name).symlink_to(target)
    os.mkfifo(job_dir / "_fifo")
    found, left = take(job_dir)
    assert found == ALWAYS | {"_inside"}
    assert (job_dir / "triage" / "_inside").read_text() == "data.bin"
    assert len(left) == 5


def test_no_more_is_taken_than_the_budget_allows(job_dir: Path) -> None:
    (job_dir / "_core").write_bytes(b"x" * 5000)
    found, left = take(job_dir, budget=4000)
    assert found == ALWAYS
    assert "_core" in left[0]


def test_what_is_taken_makes_no_second_product(job_dir: Path) -> None:
    (job_dir / "_p").mkdir()
    (job_dir / "_p" / "_p.dataset.json").write_text("{}")
    assert "_p/_p.dataset.json.copy" in take(job_dir)[0]


@pytest.mark.parametrize(
    ("given", "used"),
    [("*.txt", ["*.txt"]), (["a", 5, "", "/etc/*", "../*", "x/../../y"], ["a"]), ({"a": 1}, []), (None, [])],
)
def test_globs_stay_in_the_directory(given: object, used: list[str]) -> None:
    assert list(globs(given)) == used


def test_the_description_has_the_times_of_a_command_that_was_run() -> None:
    info = {"cmd_start": "2026-01-02T03:04:05Z", "cmd_end": "2026-01-02T03:05:05Z"}
    made = described("x", {"job_info": info})
    assert (made["label"], made["starttime"], made["endtime"]) == ("x", info["cmd_start"], info["cmd_end"])
    assert set(described("x", {})) == {"version", "label"}
    assert described("x", {}, "%Y.%m")["index"]["suffix"].endswith("_triaged_job")


def test_a_job_may_ask_for_triage_where_nothing_is_listed_and_for_no_other_code() -> None:
    assert plan({"post": ["hysds.triage.triage"]}, Allowed()).post == ("hysds.triage.triage",)
    with pytest.raises(Exception, match="not on this worker's list"):
        plan({"pre": ["triage"]}, Allowed())
