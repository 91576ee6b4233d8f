"""What operators do in a day: wait for a job, see why it is a duplicate, stop it, run it again, find its products."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agents.index_reader import IndexReader, IndexUnavailableError
from ops.cluster import Plan
from pipeline.statuses import Status
from tests.acceptance.support import SOON, WHOLE, Site, lines, site_at, tallied
from tests.conftest import PROJECT
from tests.waiting import until

T = TypeVar("T")
RULES = PROJECT / "ops" / "templates" / "datasets.json"
PRODUCT = "EXAMPLE-20260102-tile7"
#: Fields of a completed job's document (spec §3.2), those of objects and of lists' entries inside. Besides there are
#: `command` of a registered type and `container_image_id` of a container; what failures, duplicates and signals add.
TRANSFER = dict.fromkeys(("path", "disk_usage", "time_start", "time_end", "duration", "transfer_rate"), None)
METRICS: dict[str, Any] = {
    "inputs_localized": {"url": None, **TRANSFER},
    "products_staged": {
        **TRANSFER,
        **dict.fromkeys(("id", "urls", "browse_urls", "dataset", "ipath", "system_version"), None),
        **dict.fromkeys(("dataset_level", "dataset_type", "index"), None),
    },
    "product_provenance": dict.fromkeys(
        ("product_type", "processing_start_time", "availability_time", "processing_latency", "total_latency"), None
    ),
    "job_dir_size": None,
    "usage_stats": dict.fromkeys(("wall_time", "user_cpu_time", "sys_cpu_time"), None),
}
JOB_INFO: dict[str, Any] = {
    **dict.fromkeys(("id", "job_queue", "index", "payload_hash", "dedup", "time_queued", "time_start"), None),
    **dict.fromkeys(("time_end", "duration", "time_limit", "soft_time_limit", "cmd_start", "cmd_end"), None),
    **dict.fromkeys(("cmd_duration", "status", "pid", "stdout", "stderr", "job_dir", "job_url"), None),
    **dict.fromkeys(("execute_node", "public_ip", "context_file", "datasets_cfg_file"), None),
    "job_payload": {"job_type": None, "payload_task_id": None},
    "facts": dict.fromkeys(("architecture", "fqdn", "ipaddress", "memorysize", "uptime", "virtual"), None),
    "metrics": METRICS,
}
JOB: dict[str, Any] = {
    **dict.fromkeys(("type", "name", "job_id", "task_id", "priority", "tag", "username", "params"), None),
    **dict.fromkeys(("localize_urls", "context", "container_image_name", "container_image_url"), None),
    **dict.fromkeys(("container_image_urls", "container_mappings", "runtime_options", "dependency_images"), None),
    "retry_count": None,
    "delivery_info": dict.fromkeys(("routing_key", "priority", "redelivered"), None),
    "job_info": JOB_INFO,
}
STATUS_DOCUMENT: dict[str, Any] = {
    **dict.fromkeys(("uuid", "job_id", "payload_id", "payload_hash", "dedup", "status", "celery_hostname"), None),
    **dict.fromkeys(("tags", "resource", "type", "@version", "@timestamp"), None),
    "job": JOB,
}
MAKE_PRODUCT = 'mkdir "$1" && echo 42 >"$1/answer.txt" && echo \'{"version": "v1.0"}\' >"$1/$1.dataset.json"'


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    worker = {"slots": 2, "datasets_file": RULES, "jobs_url": "https://work.example/"}
    with site_at(servers_home / "operations", Plan(), {"worker": worker}) as site:
        yield site


def submitted(site: Site, command: str, *options: str, **params: Any) -> tuple[int, str, str]:
    """Submit a job by the command line; return the exit code, the job's id, and what was said on standard error."""
    payload = json.dumps({"_command": command, **params})
    done = site.cli("submit", "work", "--payload", "-", "-o", "json", *options, stdin=payload, timeout=2 * SOON)
    assert done.stdout, done.stderr
    (job,) = json.loads(done.stdout)["job_ids"]
    return done.returncode, job, done.stderr


def indexed(ask: Callable[[], T]) -> T:
    """Return the first answer of the index that says something; one that was only just made may not answer at all."""

    def asked() -> T | None:
        try:
            return ask()
        except IndexUnavailableError:
            return None

    found = until(asked, SOON, what="the index has it")
    assert found is not None
    return found


def test_submit_and_wait_ends_with_the_jobs_own_exit_status(site: Site) -> None:
    code, job, _ = submitted(site, "true", "--wait")
    assert (code, site.facts.statuses(job)) == (0, WHOLE)
    code, job, told = submitted(site, "sh -c 'echo no such tile >&2; exit 7'", "--wait")
    assert code == 7
    assert job in told
    assert site.facts.statuses(job)[-1] == Status.FAILED
    assert site.document(job)["job"]["job_info"]["stderr"] == "no such tile\n"


def test_a_registered_type_runs_what_it_says_whatever_its_parameters_hold(site: Site) -> None:
    assert site.cli("jobs", "register", str(PROJECT / "ops" / "templates" / "job_type.json")).returncode == 0
    nasty = "$HOME; `id`"
    done = site.cli("submit", "job-hello:v1.0", "-p", f"name={nasty}", "--wait", "-o", "json", timeout=2 * SOON)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["job_ids"]
    assert site.cli("logs", job).stdout == f"hello {nasty} 1.0\n"
    refused = site.cli("submit", "job-hello:v1.0", "-p", "nme=x", "--wait", timeout=2 * SOON)
    assert refused.returncode == 1
    assert "$.payload.nme: found an unknown parameter" in refused.stderr


def test_a_duplicate_names_its_original_and_a_failed_job_makes_none(site: Site) -> None:
    _, original, _ = submitted(site, "true", "--wait", tile=1)
    _, duplicate, _ = submitted(site, "true", tile=1)
    site.await_status([duplicate], Status.DEDUPED)
    assert site.document(duplicate)["dedup_job"] == original
    assert original in site.cli("get", duplicate).stdout
    assert submitted(site, "false", "--wait", tile=2)[0] == 1
    assert submitted(site, "false", "--wait", tile=2)[0] == 1
    assert submitted(site, "true", "--wait", "--no-dedup", tile=1)[0] == 0


def test_a_revoked_job_that_waits_never_starts(site: Site, tmp_path: Path) -> None:
    assert site.cli("queues", "declare", "halted").returncode == 0
    assert site.cli("queues", "pause", "halted").returncode == 0
    first, second = (tmp_path / name for name in ("first", "second"))
    waiting = site.submit(tallied(first, 0), tallied(second, 0), job_queue="halted")
    assert site.cli("revoke", waiting[0], "--reason", "wrong tile").returncode == 0
    assert site.cli("queues", "resume", "halted").returncode == 0
    site.await_status(waiting[1:], Status.COMPLETED)
    assert site.facts.statuses(waiting[0]) == [Status.QUEUED, Status.REVOKED]
    assert "wrong tile" in str(site.facts.of(waiting[0])[-1].reason)
    assert (lines(first), lines(second)) == ([], ["begun", "ended"])


def test_a_revoked_job_that_runs_is_ended_and_its_slot_is_free(site: Site, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(2)]
    jobs = site.submit(*[tallied(file, 3600) for file in files])
    site.await_status(jobs, Status.STARTED)
    until(lambda: all(map(lines, files)), SOON, what="both have begun")
    assert site.cli("revoke", *jobs).returncode == 0
    site.await_status(jobs, Status.REVOKED)
    assert submitted(site, "true", "--wait")[0] == 0
    refused = site.cli("revoke", jobs[0])
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert [lines(file) for file in files] == [["begun"]] * 2


def test_a_failed_job_that_is_retried_runs_again_as_its_next_attempt(site: Site, tmp_path: Path) -> None:
    marker = tmp_path / "repaired"
    code, job, _ = submitted(site, "test -e $marker", "--wait", marker=str(marker))
    assert code == 1
    marker.touch()
    assert site.cli("retry", job).returncode == 0
    site.await_status([job], Status.COMPLETED)
    assert site.facts.statuses(job) == [*WHOLE[:2], Status.FAILED, *WHOLE]
    assert [fact.attempt for fact in site.facts.of(job)] == [1, 1, 1, 2, 2, 2]
    assert site.cli("retry", job).returncode == 1


def test_a_product_is_published_once_and_found_by_its_name_in_the_index(site: Site) -> None:
    code, job, _ = submitted(site, f"sh -c {json.dumps(MAKE_PRODUCT)} make $product", "--wait", product=PRODUCT)
    assert code == 0, site.document(job).get("error")
    (product,) = site.document(job)["products"]
    assert product["id"] == PRODUCT
    (published,) = site.settings.product_store.rglob("answer.txt")
    assert published.read_text() == "42\n"
    assert published.parent.name == PRODUCT
    with IndexReader(site.settings) as index:
        (found,) = indexed(lambda: index.datasets(product_id=PRODUCT, fresh=True))
        assert found["dataset"] == "EXAMPLE"
        indexed(lambda: (index.get(job, fresh=True) or {}).get("status") == Status.COMPLETED)
    again, _, told = submitted(
        site, f"sh -c {json.dumps(MAKE_PRODUCT)} make $product", "--wait", "--no-dedup", product=PRODUCT
    )
    assert again != 0
    assert PRODUCT in told
    assert published.read_text() == "42\n"


def missing(document: Any, fields: Mapping[str, Any], path: str = "") -> list[str]:
    """The fields that a document lacks; those of each entry where it is a list, which must have one."""
    if isinstance(document, list):
        return [field for one in document for field in missing(one, fields, path)] if document else [f"{path} is empty"]
    absent = [f"{path}{name}" for name in fields if name not in document]
    inner = {name: wanted for name, wanted in fields.items() if wanted and name in document}
    return absent + [one for name, more in inner.items() for one in missing(document[name], more, f"{path}{name}.")]


def test_a_completed_jobs_document_in_the_index_has_the_fields_of_hysds_under_their_names(site: Site) -> None:
    source = site.settings.product_store / "source.txt"
    source.parent.mkdir(exist_ok=True)
    source.write_text("from before")
    payload = {
        "_command": f"sh -c {json.dumps(MAKE_PRODUCT)} make $product",
        "product": "EXAMPLE-20260103-fields",
        "localize_urls": [{"url": str(source)}],
    }
    options = {"tag": "tests", "username": "ops", "context": json.dumps({"deep": 1}), "time_limit": 60}
    (job,) = site.submit(payload, job_type="job-fields:v1", **options)
    site.await_status([job], Status.COMPLETED)
    with IndexReader(site.settings) as index:
        indexed(lambda: (index.get(job, fresh=True) or {}).get("status") == Status.COMPLETED)
        found = index.get(job)
    assert found is not None
    assert missing(found, STATUS_DOCUMENT) == []
    assert (found["resource"], found["type"], found["@version"]) == ("job", "job-fields:v1", "1")
    assert found["tags"] == ["tests"]
    assert "context" not in found
    inner, info = found["job"], found["job"]["job_info"]
    assert (inner["tag"], inner["username"], inner["context"]) == ("tests", "ops", {"deep": 1})
    assert (info["status"], info["stdout"], info["stderr"], info["time_limit"]) == (0, "", "", 60)
    assert found["uuid"] == inner["task_id"] != found["payload_id"] == info["job_payload"]["payload_task_id"]
    assert found["job_id"] == inner["job_id"] == info["id"]
    assert info["job_url"].startswith("https://work.example/jobs/20")
    assert info["job_url"].endswith(f"/{job}-1")
    times = [info[name] for name in ("time_queued", "time_start", "cmd_start", "cmd_end", "time_end")]
    assert all(time.endswith("Z") for time in times)
    assert times[1:] == sorted(times[1:])


def test_the_index_ends_up_with_every_job_as_the_log_has_it(site: Site) -> None:
    jobs = site.submit(*[{"_command": "true"}] * 5)
    site.await_status(jobs, Status.COMPLETED)
    with IndexReader(site.settings) as index:
        for job in jobs:
            known = site.document(job)
            indexed(lambda job=job, known=known: index.get(job, fresh=True) == known)
            assert [fact["seq"] for fact in indexed(lambda job=job: index.history(job, fresh=True))] == [1, 2, 3]
