"""What an attempt leaves for its job, and reads of what the job left, with real processes."""

import asyncio
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.statuses import Status
from pipeline.work.directory import WorkRoot
from pipeline.work.errors import Category
from pipeline.work.place import Place
from pipeline.work.worker_config import JobWorkerConfig
from tests.integration.attempt_support import TASK, assert_closed, job, make_place, run


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


async def test_a_job_sees_its_document_and_context_and_may_edit_the_latter(place: Place) -> None:
    script = (
        "import json; c = json.load(open('_context.json')); j = json.load(open('_job.json'))\n"
        "assert c['size'] == 3 and c['context'] == {'deep': 1} and c['_force_ingest'] is True, c\n"
        f"assert c['_prov'] == {{'wasGeneratedBy': 'task_id:{TASK}'}}\n"
        f"assert j['job_id'] == 'fam-1' and j['task_id'] == '{TASK}' and j['job_info']['job_dir'], j\n"
        "c['added'] = 'here'; json.dump(c, open('_context.json', 'w'))"
    )
    document = job(script, context={"deep": 1}, publish_overwrite_ok=True)
    document["params"]["size"] = 3
    result = await run(document, place)
    assert result.error is None, (result.error, result.traceback)
    assert result.context["added"] == "here"


async def test_a_spoilt_context_is_noted_and_fails_nothing(place: Place) -> None:
    result = await run(job("open('_context.json', 'w').write('{')"), place)
    assert result.succeeded
    assert "context" in result.notes[0]


async def test_what_the_job_says_of_its_error_replaces_ours(place: Place) -> None:
    script = (
        "open('_alt_error.txt', 'wb').write(b'disk of the \\xff instrument is full, said the job')\n"
        "open('_alt_traceback.txt', 'w').write('at line 3')\n"
        "open('_alt_msg.txt', 'w').write('one\\n' + 'x' * 20 + '-' * 50 + 'y' * 10 + '\\n\\n')\n"
        "open('_alt_msg_details.txt', 'w').write('all\\nof it')\n"
        "raise SystemExit(3)"
    )
    result = await run(job(script), place)
    assert result.error == "disk of the � instrument is full, said the job"
    assert result.short_error == "disk of the � instru.....id the job"
    assert result.traceback == "at line 3"
    assert result.msg == ("one", "x" * 20 + "....." + "y" * 10)
    assert result.msg_details == "all\nof it"


async def test_what_a_job_left_is_read_without_following_it_anywhere(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    script = (
        f"import os; os.symlink('{secret}', '_alt_error.txt'); os.mkfifo('_alt_traceback.txt')\n"
        f"os.remove('_context.json'); os.symlink('{secret}', '_context.json')\n"
        f"os.remove('_stderr.txt'); os.symlink('{secret}', '_stderr.txt')\n"
        f"os.symlink('{secret}', '_exit_code'); os.remove('_job.json'); os.symlink('{secret}', '_job.json')\n"
        "os.remove('.running'); os.mkdir('.running'); os.mkdir('.done'); os.mkdir('.done/x')\n"
        "raise SystemExit(3)"
    )
    result = await run(job(script), place)
    assert secret.read_text() == "hush"
    assert "hush" not in repr(result)
    path = assert_closed(result, place)
    assert (path / "_exit_code").read_text() == "3\n"


@pytest.mark.parametrize("code", [0, 3])
async def test_nothing_is_taken_from_where_a_link_in_place_of_the_directory_leads(
    place: Place, tmp_path: Path, code: int
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("_alt_error.txt", "_context.json", "_stderr.txt", "pge_metrics.json"):
        (elsewhere / name).write_text('{"said": "hush"}')
    published = []

    async def publish(path: Path, _: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        published.append(path)
        return []

    script = f"import os; at = os.getcwd(); os.rename(at, at + '.x'); os.symlink('{elsewhere}', at); exit({code})"
    result = await run(job(script), place, publish=publish)
    assert (result.status, published) == (Status.FAILED, [])
    assert "hush" not in repr(result)
    assert sorted(path.name for path in elsewhere.iterdir()) == [
        "_alt_error.txt", "_context.json", "_stderr.txt", "pge_metrics.json"]  # fmt: skip
    assert "removed, renamed or replaced" in result.notes[-1]
    assert list(place.root.leftovers()) == []


async def test_a_job_that_removes_its_directory_completes_if_it_says_so(place: Place) -> None:
    result = await run(job("import os, shutil; shutil.rmtree(os.getcwd())"), place)
    assert result.succeeded, result.error
    assert "removed, renamed or replaced" in result.notes[-1]


async def test_the_note_on_a_limit_is_not_written_through_a_link(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("as it was")
    script = f"import os, time; os.remove('_stderr.txt'); os.symlink('{other}', '_stderr.txt'); time.sleep(300)"
    result = await run(job(script, job_info={"time_limit": 2}), place)
    assert result.category is Category.HARD_LIMIT
    assert (assert_closed(result, place) / "_stderr.txt").is_symlink()
    assert other.read_text() == "as it was"


async def test_metrics_of_the_job_are_merged(place: Place) -> None:
    script = (
        "import json, os; os.makedirs('a/b')\n"
        "json.dump({'download': [{'url': 'u'}], 'upload': [{'id': 'p'}]}, open('a/b/my_pge_metrics.json', 'w'))\n"
        "json.dump({'wall_time': 1}, open('x_docker_stats.json', 'w')); open('y_docker_stats.json', 'w').write('{')"
    )
    result = await run(job(script), place)
    assert result.succeeded
    metrics = result.job_info["metrics"]
    assert metrics["inputs_localized"] == [{"url": "u"}]
    assert metrics["products_staged"] == [{"id": "p"}]
    assert {"wall_time": 1} in metrics["usage_stats"]
    assert "y_docker_stats.json" in result.notes[0]


@pytest.mark.parametrize("entry", ["text", {"wall_time": {"s": 1}}, {"wall_time": [[1]]}])
async def test_statistics_that_an_index_would_refuse_the_job_for_are_left_out_and_noted(
    place: Place, entry: Any
) -> None:
    result = await run(job(f"import json; json.dump([{entry!r}], open('x_docker_stats.json', 'w'))"), place)
    assert result.succeeded
    assert len(result.job_info["metrics"]["usage_stats"]) == 1
    assert "x_docker_stats.json" in result.notes[0]


@pytest.mark.parametrize("metrics", [[], {"download": ["text"]}, {"upload": [{"id": {"a": 1}}]}, {"download": 1}])
async def test_unusable_metrics_fail_the_job_before_anything_is_published(place: Place, metrics: Any) -> None:
    published = []

    async def publish(path: Path, _: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        published.append(path)
        return []

    script = f"import json; json.dump({metrics!r}, open('pge_metrics.json', 'w'))"
    result = await run(job(script), place, publish=publish)
    assert (result.status, result.exit_code, result.job_info["status"]) == (Status.FAILED, 0, 1)
    assert "pge_metrics.json" in str(result.error)
    assert published == []
    assert_closed(result, place)


async def test_the_run_script_runs_the_same_again_without_secrets(place: Place) -> None:
    env = [{"key": "GREETING", "value": "it's $HOME"}, {"key": "API_TOKEN", "value": "hush"}]
    argv = ["import os; print(os.environ['GREETING'], os.getcwd())", "$word"]
    command = {"path": sys.executable, "options": ["-c"], "arguments": argv, "env": env}
    config = JobWorkerConfig.model_validate({"configs": [{"type": "job-x:1", "command": command}]})
    document = job(params={"word": "a 'quoted' $word"})
    result = await run(document, replace(place, worker_config=config))
    assert result.succeeded, result.traceback
    path = assert_closed(result, place)
    script = path / "_run.sh"
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert "hush" not in script.read_text()
    bare = {"PATH": os.environ["PATH"]}
    again = await asyncio.create_subprocess_exec(script, env=bare, cwd="/", stdout=asyncio.subprocess.PIPE)
    said, _ = await again.communicate()
    assert said == (path / "_stdout.txt").read_bytes() == f"it's $HOME {path}\n".encode()


async def test_what_a_crash_left_open_can_be_closed(place: Place) -> None:
    opened = place.root.create("fam-9", 1, datetime.now(UTC))
    (left,) = WorkRoot(place.root.root, "w1").leftovers()
    assert left.path == opened.path
    assert list(WorkRoot(place.root.root, "w2").leftovers()) == []
    left.close()
    assert (opened.path / ".done").exists()
    assert list(place.root.leftovers()) == []
