"""Checksum files beside inputs, and marks on datasets."""

import hashlib
from pathlib import Path

import pytest

from pipeline.inputs import checksums, marks
from pipeline.inputs.checksums import ALGORITHMS
from pipeline.inputs.errors import CorruptError, TimeLimitError
from pipeline.inputs.patience import Patience

DATA = b"some granule"


def digest(algorithm: str, data: bytes = DATA) -> str:
    made = hashlib.new(algorithm, data)
    return made.hexdigest(255) if algorithm.startswith("shake") else made.hexdigest()  # type: ignore[call-arg]


def check(*paths: Path) -> int:
    return checksums.check(paths, Patience(60))


def test_there_are_fourteen_algorithms() -> None:
    assert len(set(ALGORITHMS)) == 14


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("form", ["{}", "{}\n", "{}  a.nc\n", " {} *a.nc\nmore"])
def test_a_fitting_checksum_passes_and_another_fails(tmp_path: Path, algorithm: str, form: str) -> None:
    data, check_file = tmp_path / "a.nc", tmp_path / f"a.nc.{algorithm}"
    data.write_bytes(DATA)
    check_file.write_text(form.format(digest(algorithm).upper()))
    assert check(data, check_file) == 1
    data.write_bytes(DATA + b"!")
    with pytest.raises(CorruptError, match=f"a.nc: {algorithm} is"):
        check(data, check_file)


def test_the_suffix_is_taken_off_the_end_alone(tmp_path: Path) -> None:
    folder = tmp_path / "x.md5.d"
    folder.mkdir()
    data = folder / "a.md5.nc"
    data.write_bytes(DATA)
    (folder / "a.md5.nc.md5").write_text("0" * 32)
    with pytest.raises(CorruptError, match=r"a\.md5\.nc"):
        check(folder)


def test_a_checksum_without_its_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.md5").write_text("0" * 32)
    (tmp_path / ".md5").write_text("0" * 32)
    assert check(tmp_path) == 0


def test_all_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(DATA)
        (tmp_path / f"{name}.sha256").write_text(digest("sha256") if name == "b" else "")
    with pytest.raises(CorruptError, match=r"2 of 3 checksums don't fit: a: .*; c: ") as raised:
        check(tmp_path)
    assert "says nothing" in str(raised.value)


def test_only_files_directly_in_a_directory_are_checked(tmp_path: Path) -> None:
    inner = tmp_path / "dir" / "inner"
    inner.mkdir(parents=True)
    (inner / "a").write_bytes(DATA)
    (inner / "a.md5").write_text("0" * 32)
    assert check(tmp_path / "dir") == 0


def test_checking_ends_when_its_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "a.md5").write_text(digest("md5"))
    with pytest.raises(TimeLimitError):
        checksums.check([tmp_path], Patience(-1))


def test_datasets_among_the_inputs_are_marked(tmp_path: Path) -> None:
    for name, file in (("A", "A"), ("B", "other"), ("deep/C", "C")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / f"{file}.dataset.json").write_text("{}")
    assert marks.mark(tmp_path) == [tmp_path / "A", tmp_path / "deep" / "C"]
    assert sorted(path.parent.name for path in tmp_path.rglob(".localized")) == ["A", "C"]
