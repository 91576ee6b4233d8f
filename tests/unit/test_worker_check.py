"""Settings that no worker can run with."""

import os

import pytest

from agents.worker.main import MisconfiguredError, check
from pipeline.settings import Settings


def with_worker(**changes: object) -> Settings:
    given = Settings()
    return given.model_copy(update={"worker": given.worker.model_copy(update=changes)})


@pytest.mark.parametrize("user", ["0:0", "0:100", "100:0"])
def test_no_job_runs_as_root(user: str) -> None:
    with pytest.raises(MisconfiguredError, match="is root"):
        check(with_worker(user=user))


def test_only_root_can_run_processes_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check(with_worker(user="1000:1000"))
    check(with_worker(user="1001:1001", engine="docker"))
    with pytest.raises(MisconfiguredError, match="only a worker that is root"):
        check(with_worker(user="1001:1001"))


def test_an_engine_that_there_is_not_is_named() -> None:
    with pytest.raises(MisconfiguredError, match="no engine 'lxc'"):
        check(with_worker(engine="lxc"))
