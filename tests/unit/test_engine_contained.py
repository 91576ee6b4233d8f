"""The process outside of an Apptainer container, which is held until the container's counters were read."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.containers import contained
from pipeline.containers.contained import ContainedProcess
from pipeline.containers.output import Outputs
from pipeline.containers.processes import ProcessRecord
from pipeline.containers.pump import Pump
from pipeline.containers.spec import Labels, RunSpec


@pytest.fixture
def outside() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_container_that_ends_as_its_process_is_to_be_held_does_not_hold_it_for_good(
    outside: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").write_text(f"{outside.pid}\n")

    def begun_and_over(self: ContainedProcess) -> bool:
        monkeypatch.setattr(self, "_watch", object())
        monkeypatch.setattr(self, "_groups", [group])
        self.pid = 0
        self._let_go()
        return True

    monkeypatch.setattr(ContainedProcess, "_has_begun", begun_and_over)
    labels = Labels(job="j", attempt=1, holder="h", worker="w")
    out = tmp_path / "out"
    spec = RunSpec(argv=("x",), working_dir=tmp_path, stdout=out, stderr=tmp_path / "err", labels=labels)
    record = ProcessRecord(token="t", job="j", attempt=1, holder="h", worker="w", working_dir=str(tmp_path))
    contained.ContainedProcess(
        outside, record, tmp_path, Pump(Outputs(spec.stdout, spec.stderr, None, None)), spec, "i"
    )
    assert psutil.Process(outside.pid).status() != psutil.STATUS_STOPPED
