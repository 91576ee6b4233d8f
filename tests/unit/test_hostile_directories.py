"""What a job may leave in its work directory, and what the worker does with it all the same."""

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.disk.keeper import written
from pipeline.disk.removal import Trash
from pipeline.work import context as contexts
from pipeline.work import files
from pipeline.work.directory import WorkDirectory, WorkRoot
from pipeline.work.metrics import MetricsError, collect, size_of
from pipeline.work.walking import files_below
from tests.unit.disk_support import MIB, admit, ended, keeper

OLD = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
#: More than Python's stack, and than a path, can take.
LEVELS = 5000


def deepen(directory: Path, levels: int = LEVELS) -> None:
    """Make a directory in a directory, and so on, with a file in the innermost."""
    handle = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)


def opened(root: Path) -> WorkDirectory:
    return WorkRoot(root, "w1").create("fa-1", 1, OLD)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def test_a_directory_of_any_depth_is_gone_through(tmp_path: Path) -> None:
    (tmp_path / "top").write_bytes(b"x" * 10)
    deepen(tmp_path)
    assert size_of(tmp_path) == 10
    assert collect(tmp_path).job_dir_size == 10
    assert 0 < written(tmp_path) < MIB
    Trash(tmp_path).take(tmp_path / "d")


def test_a_directory_of_any_depth_makes_way(tmp_path: Path) -> None:
    left = ended(tmp_path, "fa-1", OLD, 50)
    deepen(left)
    admit(keeper(tmp_path), "new", 60)
    assert not left.exists()
    assert list((tmp_path / "trash").iterdir()) == []


NAMES = {"long": "d" * 255, "three": "漢" * 85, "two": "d" + "é" * 127, "no-text": os.fsdecode(b"\xff" * 255)}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_directory_of_any_name_makes_way(tmp_path: Path, name: str) -> None:
    left = ended(tmp_path, "fa-1", OLD, 50)
    (left / name / name).mkdir(parents=True)
    admit(keeper(tmp_path), "new", 60)
    assert not left.exists()
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_directory_where_files_belong_is_moved_aside(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    for name in (files.DONE, files.RUNNING):
        (directory.path / name).unlink(missing_ok=True)
        (directory.path / name).mkdir()
        deepen(directory.path / name, 1500)
    directory.close()
    assert (directory.path / files.DONE).read_text().endswith("Z")
    assert not (directory.path / files.RUNNING).exists()
    Trash(tmp_path).take(directory.path)


def test_a_full_disk_closes_a_directory_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = opened(tmp_path)
    monkeypatch.setattr(files, "write", full)
    directory.close()
    assert (directory.path / files.DONE).is_file()
    assert not (directory.path / files.RUNNING).exists()
    assert list(WorkRoot(tmp_path, "w1").leftovers()) == []


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    directory, elsewhere = opened(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o500)
    directory.path.rename(tmp_path / "moved")
    directory.path.symlink_to(elsewhere)
    directory.close()
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o500


def test_the_worker_gets_into_a_directory_whose_rights_were_taken(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.path.chmod(0)
    directory.regain()
    assert directory.path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_is_read_as_nothing_and_written_to_by_nobody(tmp_path: Path, make: object) -> None:
    path = tmp_path / "_alt_error.txt"
    make(path)  # type: ignore[operator]
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert files.read(path, 10) is None
    files.append(path, b"x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_has_another_name_too_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "_stderr.txt").hardlink_to(tmp_path / "mine")
    files.append(tmp_path / "_stderr.txt", b"ours")
    assert (tmp_path / "mine").read_text() == "mine"


def test_json_that_could_not_be_written_again_is_no_context(tmp_path: Path) -> None:
    (tmp_path / files.CONTEXT).write_text(f'{{"a": {nested(300)}}}')
    with pytest.raises(ValueError, match="nested deeper than 200"):
        contexts.read_back(tmp_path)


def test_json_that_could_not_be_written_again_is_no_metrics(tmp_path: Path) -> None:
    (tmp_path / "x_docker_stats.json").write_text(nested(300))
    (said,) = collect(tmp_path).notes
    assert "nested deeper than 200 levels" in said
    (tmp_path / "pge_metrics.json").write_text(f'{{"download": {nested(300)}}}')
    with pytest.raises(MetricsError, match="nested deeper"):
        collect(tmp_path)


def test_statistics_are_read_up_to_a_limit_and_complained_of_up_to_another(tmp_path: Path) -> None:
    for number in range(40):
        text = json.dumps([{"said": "x" * 3 * MIB}] if number < 10 else [{}])
        (tmp_path / f"{number:02}_docker_stats.json").write_text(text)
    found = collect(tmp_path)
    assert len(found.usage_stats) == 6
    assert len(found.notes) == 20
    assert "more than 1000 such files, or than 16777216 bytes" in found.notes[0]


def test_what_vanishes_or_can_not_be_looked_at_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    walking = files_below(tmp_path)
    assert [path for path, _ in walking] == [str(tmp_path / "there")]
    assert list(files_below(tmp_path / "gone")) == []
