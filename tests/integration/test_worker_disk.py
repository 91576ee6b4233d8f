"""A worker process whose disk is too small for a job; the test plays the ledger."""

import shlex
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.messages.report import COMPLETED, RELEASE
from tests.integration.worker_support import Ledger, ledger

#: MiB that no test machine has.
FAR_TOO_MUCH = 2**30


@pytest.fixture
def played(kafka: str, tmp_path: Path) -> Iterator[Ledger]:
    with ledger(kafka, tmp_path, f"t{uuid.uuid4().hex[:8]}.") as playing:
        yield playing


def needs(disk_mib: int, job_type: str = "job-test") -> dict[str, Any]:
    script = "import pathlib; print(*sorted(one.name for one in pathlib.Path('../../../../../../../room').iterdir()))"
    command = shlex.join([sys.executable, "-c", script])
    return {"type": job_type, "params": {"_command": command}, "needs": {"disk_mib": disk_mib}}


def test_a_job_that_the_disk_has_no_room_for_is_handed_back_with_the_reason_unstarted(
    played: Ledger, tmp_path: Path
) -> None:
    with played.worker(engine="process", slots=1) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", needs(FAR_TOO_MUCH))
        reason = played.result("fa-1", RELEASE)["reason"]
        assert reason.startswith(f"disk: {FAR_TOO_MUCH} MiB are needed, and 10 %")
        played.grant(holder, "fb-1", needs(1))
        path = Path(played.result("fb-1", COMPLETED)["job_info"]["job_dir"])
        assert [report.kind for report in played.of("fa-1")] == [RELEASE]
        assert (path / "_stdout.txt").read_text() == "fb-1-1\n"
        assert list((tmp_path / "home" / "work" / "room").iterdir()) == []


def test_the_workers_own_configuration_of_a_type_says_its_need(played: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "job_worker.json"
    command = {"path": sys.executable, "options": ["-c", "pass"], "arguments": [], "env": []}
    file.write_bytes(
        orjson.dumps({"configs": [{"type": "job-large", "command": command, "disk_usage": f"{FAR_TOO_MUCH}MB"}]})
    )
    with played.worker(engine="process", job_worker_file=file) as process:
        played.grant(played.holder(process), "fa-1", needs(1, "job-large"))
        assert played.result("fa-1", RELEASE)["reason"].startswith("disk: ")
