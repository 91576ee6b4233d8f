import os
import shutil
from pathlib import Path

import pytest

from pipeline.datasets import rename
from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.errors import (
    Collision,
    InvalidProduct,
    StoreBusy,
    StoreUnsupported,
)
from pipeline.datasets.tree import JobTree
from tests.unit.datasets_support import make_product, marker, staged, visible


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


def show(store: DirectoryStore, job: Path, content: str, *names: str, force: bool = False, **who: object) -> None:
    """Publish products `names` (default A), all with `content`, at their names."""
    shutil.rmtree(job)
    job.mkdir()
    with store.begin(marker(**who), force) as publication:  # type: ignore[arg-type]
        for name in names or ("A",):
            make_product(job, name, content)
            publication.stage(JobTree(job), (name,), name, {})
        publication.commit()


def test_the_same_attempt_again_is_done_already(store: DirectoryStore, root: Path, job: Path) -> None:
    show(store, job, "first")
    show(store, job, "second")
    assert visible(root) == {"A": "first"}


def test_a_failure_after_a_forced_replacement_brings_the_only_copy_back(root: Path, job: Path) -> None:
    show(DirectoryStore(root), job, "theirs", "A", job_id="job-b")
    (root / "B").mkdir()
    with pytest.raises(Collision):
        show(DirectoryStore(root), job, "ours", "A", "B", force=True)
    assert visible(root) == {"A": "theirs"}


def test_the_failing_product_is_taken_back_too(root: Path, job: Path) -> None:
    """The failure comes after its rename and before the end: it is visible already."""
    shown: list[str] = []

    def fail_late(step: str) -> None:
        if step == "shown":
            shown.append(step)
            if len(shown) == 2:
                raise OSError(5, "disk error")

    with pytest.raises(OSError, match="disk error"):
        show(DirectoryStore(root, on_step=fail_late), job, "ours", "A", "B", "C")
    assert (visible(root), staged(root)) == ({}, [])


def test_what_could_not_be_taken_back_is_said_and_left_to_a_sweep(root: Path, job: Path) -> None:
    def fail(step: str) -> None:
        if step in ("all shown", "take back"):
            raise OSError(5, "disk error")

    with pytest.raises(OSError, match="disk error") as caught:
        show(DirectoryStore(root, on_step=fail), job, "ours", "A")
    assert "could not be taken back" in caught.value.__notes__[0]
    assert visible(root) == {"A": "ours"}
    DirectoryStore(root).sweep(older_than=0)
    assert (visible(root), staged(root)) == ({}, [])


@pytest.mark.parametrize(
    "location",
    ["", "/", "..", "../x", "a/../../x", "a//b", "./a", ".staging/x", "/etc/x", "s3://bucket/x", "a\0b", "x" * 300],
)
def test_a_location_stays_inside_the_store(store: DirectoryStore, location: str) -> None:
    with pytest.raises(InvalidProduct, match="location"):
        store.url(location)


def test_a_location_may_be_the_full_path_or_url_below_the_store(store: DirectoryStore, root: Path) -> None:
    assert store.url("a b/c") == store.url(f"{root}/a b/c") == store.url(f"file://{root}/a b/c")
    assert store.url("a b/c") == f"file://{root}/a%20b/c"
    with pytest.raises(InvalidProduct):
        store.url(f"{root}x/c")


def test_a_link_in_the_store_does_not_lead_out_of_it(
    store: DirectoryStore, root: Path, job: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (root / "out").symlink_to(tmp_path / "outside")
    make_product(job, "A")
    with store.begin(marker()) as publication:
        publication.stage(JobTree(job), ("A",), "out/A", {})
        with pytest.raises(InvalidProduct, match="outside"):
            publication.commit()


def test_a_product_with_a_link_that_leads_outside_is_refused(
    store: DirectoryStore, root: Path, job: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s")
    for target in (tmp_path / "secret", tmp_path, "missing", "loop"):
        shutil.rmtree(job)
        product = make_product(job, "A")
        (product / "loop").symlink_to("loop") if target == "loop" else (product / "link").symlink_to(target)
        with store.begin(marker()) as publication, pytest.raises(InvalidProduct):
            publication.stage(JobTree(job), ("A",), "A", {})
    assert (visible(root), staged(root)) == ({}, [])


def test_a_link_inside_the_job_becomes_a_copy(store: DirectoryStore, root: Path, job: Path) -> None:
    (job / "shared").mkdir()
    (job / "shared" / "grid").write_text("grid")
    product = make_product(job, "A")
    (product / "grid").symlink_to("../shared/grid")
    (product / "all").symlink_to("../shared")
    with store.begin(marker()) as publication:
        publication.stage(JobTree(job), ("A",), "A", {})
        publication.commit()
    for copy in (root / "A" / "grid", root / "A" / "all" / "grid"):
        assert not copy.is_symlink()
        assert copy.read_text() == "grid"


def test_a_product_that_contains_itself_is_refused(store: DirectoryStore, job: Path) -> None:
    (make_product(job, "A") / "inner").symlink_to("..")
    with store.begin(marker()) as publication, pytest.raises(InvalidProduct):
        publication.stage(JobTree(job), ("A",), "A", {})


def test_pipes_and_a_marker_of_the_jobs_own_are_refused(store: DirectoryStore, job: Path) -> None:
    product = make_product(job, "A")
    os.mkfifo(product / "pipe")
    with store.begin(marker()) as publication, pytest.raises(InvalidProduct, match="regular"):
        publication.stage(JobTree(job), ("A",), "A", {})
    (product / "pipe").unlink()
    (product / ".jobstream.json").write_text("{}")
    with store.begin(marker()) as publication, pytest.raises(InvalidProduct, match="reserved"):
        publication.stage(JobTree(job), ("A",), "A", {})


def test_published_files_keep_no_special_permissions(store: DirectoryStore, root: Path, job: Path) -> None:
    tool = make_product(job, "A") / "tool"
    tool.touch()
    tool.chmod(0o4770)
    with store.begin(marker()) as publication:
        publication.stage(JobTree(job), ("A",), "A", {})
        publication.commit()
    assert (root / "A" / "tool").stat().st_mode & 0o7777 == 0o754


def test_one_attempt_is_published_by_one_process_at_a_time(store: DirectoryStore) -> None:
    with store.begin(marker()), pytest.raises(StoreBusy):
        store.begin(marker())


def test_a_sweep_spares_the_living_and_the_young(store: DirectoryStore, root: Path) -> None:
    (root / ".staging/job-dead/1").mkdir(parents=True)
    with store.begin(marker()):
        assert store.sweep(older_than=3600) == []
        assert store.sweep(older_than=0) == ["job-dead/1"]
        assert staged(root) == ["job-a/1"]


def test_a_file_system_without_atomic_renames_is_refused_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        class renameat2:  # noqa: N801
            def __new__(cls, *_args: object) -> int:  # type: ignore[misc]
                rename.ctypes.set_errno(22)
                return -1

    monkeypatch.setattr(rename.ctypes, "CDLL", lambda *_args, **_options: Library)
    with pytest.raises(StoreUnsupported, match="can't rename without replacing"):
        DirectoryStore(root)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_renames_across_file_systems_are_refused(tmp_path: Path) -> None:
    other = Path("/dev/shm") / f"jobstream-{os.getpid()}"
    other.mkdir()
    try:
        if other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("one file system")
        with pytest.raises(StoreUnsupported, match="different file systems"):
            rename.rename_noreplace(other, tmp_path / "x")
    finally:
        other.rmdir()
