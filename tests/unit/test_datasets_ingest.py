"""Products that no job made: all of a directory are published, or none."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from ops.cli.main import app
from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.errors import Collision, InvalidProduct, NotRecognised
from pipeline.datasets.extractors import Extractors
from pipeline.datasets.ingest import Ingest
from pipeline.datasets.marker import Marker
from tests.unit.datasets_support import make_product, simple_rules, staged, visible

PLACES = ("tiles/v1.0/TILE-1", "tiles/v1.0/TILE-2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("TILE-1", "TILE-2"):
        make_product(tmp_path / "made", name)
    return tmp_path / "made"


def plan(directory: Path) -> Ingest:
    return Ingest.of(directory, simple_rules(), Extractors())


def tell_nobody(_documents: Sequence[Mapping[str, Any]], _marker: Marker) -> None:
    return


def test_all_products_of_a_directory_are_published_and_then_told_of(directory: Path, root: Path) -> None:
    told = []

    def tell(documents: Sequence[Mapping[str, Any]], _marker: Marker) -> None:
        told.append(([one["id"] for one in documents], sorted(visible(root))))

    published = plan(directory).publish(DirectoryStore(root), tell)
    assert told == [(["TILE-1", "TILE-2"], list(PLACES))]
    assert [one["urls"] for one in published.products_staged] == [[f"file://{root}/{place}"] for place in PLACES]
    assert not (directory / "_datasets.json").exists()


def test_a_products_own_directory_can_be_given(directory: Path, root: Path) -> None:
    plan(directory / "TILE-1").publish(DirectoryStore(root), tell_nobody)
    assert list(visible(root)) == [PLACES[0]]


def test_what_is_published_is_replaced_by_force_alone(directory: Path, root: Path) -> None:
    plan(directory).publish(DirectoryStore(root), tell_nobody)
    (directory / "TILE-1" / "data.txt").write_text("new")
    with pytest.raises(Collision, match=r"TILE-1: published by job ingest-"):
        plan(directory).publish(DirectoryStore(root), tell_nobody)
    assert visible(root) == dict.fromkeys(PLACES, "data")
    plan(directory).publish(DirectoryStore(root), tell_nobody, force=True)
    assert visible(root) == {PLACES[0]: "new", PLACES[1]: "data"}


@pytest.mark.parametrize("force", [False, True])
def test_a_failure_at_the_end_takes_back_every_product_and_puts_back_what_was_there(
    directory: Path, root: Path, force: bool
) -> None:
    store = DirectoryStore(root)
    if force:
        plan(directory / "TILE-2").publish(store, tell_nobody)
    (directory / "TILE-2" / "data.txt").write_text("new")

    def fail(_documents: Sequence[Mapping[str, Any]], _marker: Marker) -> None:
        assert len(visible(root)) == 2
        raise OSError("the index is gone")

    with pytest.raises(OSError, match="the index is gone"):
        plan(directory).publish(store, fail, force=force)
    assert visible(root) == ({PLACES[1]: "data"} if force else {})
    assert staged(root) == []


def test_one_wrong_product_keeps_all_back(directory: Path, root: Path) -> None:
    make_product(directory, "OTHER")
    with pytest.raises(NotRecognised):
        plan(directory)
    (directory / "OTHER" / "OTHER.dataset.json").write_text("{}")
    with pytest.raises(InvalidProduct, match="version"):
        plan(directory)
    assert not root.exists()


def test_after_a_kill_at_any_step_the_next_run_publishes_all(directory: Path, tmp_path: Path) -> None:
    for number in range(1, 100):
        root = tmp_path / f"store-{number}"
        killed = _killed(directory, root, number)
        assert set(visible(root).values()) <= {"data"}
        if not killed:
            assert len(visible(root)) == 2
            assert number > 5
            return
        try:
            plan(directory).publish(DirectoryStore(root), tell_nobody)
        except Collision:
            # it was killed after its commit had ended
            assert len(visible(root)) == 2
        assert visible(root) == dict.fromkeys(PLACES, "data")
        assert staged(root) == []
    raise AssertionError("the ingest never ended")


def _killed(directory: Path, root: Path, number: int) -> bool:
    pid = os.fork()
    if pid == 0:
        left = [number]

        def die(_step: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            plan(directory).publish(DirectoryStore(root, on_step=die), tell_nobody)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@pytest.fixture
def command(directory: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rules = tmp_path / "datasets.json"
    rules.write_bytes(orjson.dumps(simple_rules().model_dump()))
    monkeypatch.setenv("JOBSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JOBSTREAM_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("JOBSTREAM_WORKER__STORE", str(root))
    return ["ingest", str(directory), "--datasets", str(rules)]


def test_a_dry_run_says_what_would_be_published_and_writes_nothing(
    command: list[str], directory: Path, root: Path
) -> None:
    said = CliRunner().invoke(app, [*command, "--dry-run", "-o", "json"])
    assert said.exit_code == 0, said.output
    assert [one["id"] for one in orjson.loads(said.stdout)] == ["TILE-1", "TILE-2"]
    assert orjson.loads(said.stdout)[0]["files"] == 3
    assert not root.exists()
    plan(directory / "TILE-2").publish(DirectoryStore(root), tell_nobody)
    said = CliRunner().invoke(app, [*command, "--dry-run"])
    assert "taken by" in said.stdout.lower()
    assert f"file://{root}/{PLACES[1]}  ingest-" in said.stdout


def test_what_is_wrong_is_one_line_and_an_exit_code(command: list[str], directory: Path, tmp_path: Path) -> None:
    make_product(directory, "OTHER")
    said = CliRunner().invoke(app, [*command, "--dry-run"])
    assert said.exit_code == 2
    assert "OTHER" in said.output
    (tmp_path / "empty").mkdir()
    said = CliRunner().invoke(app, ["ingest", str(tmp_path / "empty"), *command[2:]])
    assert said.exit_code == 2
    assert "no product" in said.output
