"""`jobstream schemas` where no registry answers."""

import pytest
from typer.testing import CliRunner, Result

from ops.cli import exits
from ops.cli.main import app
from pipeline.topology import Topology
from schemas.check import names


def run(*words: str, registry: str | None = None) -> Result:
    environment = {} if registry is None else {"JOBSTREAM_KAFKA__REGISTRY_URL": registry}
    return CliRunner().invoke(app, ["schemas", *words], env=environment)


def test_schemas_are_checked_without_a_registry() -> None:
    assert run("check", "--offline").exit_code == exits.OK
    result = run("check")
    assert result.exit_code == exits.OK
    assert "JOBSTREAM_KAFKA__REGISTRY_URL" in result.stderr


def test_registering_without_a_registry_says_what_to_set() -> None:
    result = run("register")
    assert result.exit_code == exits.USAGE
    assert "JOBSTREAM_KAFKA__REGISTRY_URL" in result.stderr


@pytest.mark.parametrize("command", ["check", "register"])
def test_a_registry_that_cannot_be_reached_is_told(command: str) -> None:
    result = run(command, registry="http://127.0.0.1:1")
    assert result.exit_code == exits.UNREACHABLE
    assert "can't be reached" in result.stderr


def test_every_schema_has_a_subject_that_is_called_after_its_topic() -> None:
    subjects = dict(Topology(prefix="x.", task_queues=("a", "b")).subjects())
    assert set(subjects.values()) == set(names())
    assert subjects["x.jobs.submit-value"] == "submission"
    assert subjects["x.tasks.b-value"] == "task"
