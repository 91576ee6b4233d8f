from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.disk.errors import DiskShortError
from pipeline.disk.keeper import Wish
from pipeline.inputs.errors import CancelledError
from pipeline.inputs.locks import held
from pipeline.inputs.patience import Patience
from pipeline.inputs.room import Room
from tests.unit.disk_support import MIB, admit, ended, keeper, opened

OLD = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_the_oldest_that_succeeded_goes_first_and_only_as_many_as_have_to(tmp_path: Path) -> None:
    failed = ended(tmp_path, "fa-1", OLD, 10, code=1)
    crashed = ended(tmp_path, "fb-1", OLD, 10, code=None)
    older, newer = (ended(tmp_path, f"f{n}-1", OLD + n * MINUTE, 10) for n in (1, 2))
    admit(keeper(tmp_path), "new", 55)
    assert [path.exists() for path in (failed, crashed, older, newer)] == [True, True, False, True]
    admit(keeper(tmp_path), "other", 22)
    assert [path.exists() for path in (failed, crashed, newer)] == [False, True, False]


def test_a_disk_with_room_enough_is_left_alone(tmp_path: Path) -> None:
    kept = ended(tmp_path, "fa-1", OLD, 10)
    admit(keeper(tmp_path), "new", 79)
    assert kept.exists()


def test_folders_of_a_time_go_with_the_last_directory_in_them(tmp_path: Path) -> None:
    gone = ended(tmp_path, "fa-1", OLD, 50)
    admit(keeper(tmp_path), "new", 60)
    assert not gone.parent.parent.exists()
    assert list((tmp_path / "trash").iterdir()) == []


def test_what_is_in_use_stays_whatever_its_job_wrote_there(tmp_path: Path) -> None:
    keeping = keeper(tmp_path)
    seat = admit(keeping, "fa-1-1")
    running = opened(tmp_path, "fa-1", OLD, 50)
    (running.path / ".done").touch()
    (running.path / "_exit_code").write_text("0\n")
    with pytest.raises(DiskShortError):
        admit(keeper(tmp_path), "new", 60)
    assert running.path.exists()
    running.close()
    seat.leave()
    admit(keeper(tmp_path), "new", 60)
    assert not running.path.exists()


def test_what_others_reserved_is_not_given_away(tmp_path: Path) -> None:
    first = admit(keeper(tmp_path), "first", 60)
    other = keeper(tmp_path)
    with pytest.raises(DiskShortError) as said:
        admit(other, "second", 60)
    assert str(said.value) == (
        "disk: 60 MiB are needed, and 10 % of 100 MiB have to stay free; "
        "99 MiB are, with what running jobs reserved 31 MiB too few"
    )
    first.leave()
    admit(other, "second", 60)


def test_what_a_running_job_wrote_of_its_reservation_does_not_count_twice(tmp_path: Path) -> None:
    admit(keeper(tmp_path), "fa-1-1", 50)
    opened(tmp_path, "fa-1", OLD, 40)
    admit(keeper(tmp_path), "second", 39)


def test_a_job_without_a_need_runs_anyhow_and_its_seat_says_what_is_missing(tmp_path: Path) -> None:
    admit(keeper(tmp_path), "fa-1-1")
    opened(tmp_path, "fa-1", OLD, 95)
    seat = admit(keeper(tmp_path), "second")
    assert 5 * MIB <= seat.short < 6 * MIB


def test_what_a_clean_up_that_was_killed_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "trash" / "x" / "deep"
    left.mkdir(parents=True)
    (left / "data").write_bytes(b"x" * 50 * MIB)
    admit(keeper(tmp_path), "new", 60)
    assert not (tmp_path / "trash" / "x").exists()


def test_the_cache_goes_last(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    entry = cache / "ab" / ("ab" * 32)
    entry.mkdir(parents=True)
    (entry / "data").write_bytes(b"x" * 20 * MIB)
    (entry / "lock").touch()
    directory = ended(root, "fa-1", OLD, 20, code=1)
    keeping = keeper(root, also=cache, cache=Room(cache, 100 * MIB), cache_root=cache)
    seat = admit(keeping, "first", 60)
    assert (directory.exists(), entry.exists()) == (False, True)
    seat.leave()
    admit(keeping, "second", 80)
    assert not entry.exists()


def test_who_waits_for_others_that_clean_up_can_be_stopped_and_gives_up_in_the_end(tmp_path: Path) -> None:
    with held(tmp_path / "room.lock", Patience(5)):
        with pytest.raises(DiskShortError, match="for too long"):
            admit(keeper(tmp_path), "new", seconds=0.05)
        unwanted = Patience(60)
        unwanted.cancel()
        with pytest.raises(CancelledError):
            keeper(tmp_path).admit(Wish("new", "w1"), unwanted)


def test_an_attempt_that_runs_already_gets_no_second_seat(tmp_path: Path) -> None:
    admit(keeper(tmp_path), "new")
    with pytest.raises(FileExistsError):
        admit(keeper(tmp_path), "new")
