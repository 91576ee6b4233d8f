"""The cache's bookkeeping: versions, room, eviction, what a kill leaves."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.inputs.cache import Cache
from pipeline.inputs.entry import Entry, key_of
from pipeline.inputs.errors import CancelledError, DiskFullError, MissingError, NoRoomError, TimeLimitError
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.limits import Limits
from pipeline.inputs.locks import held, try_lock
from pipeline.inputs.patience import Patience
from pipeline.inputs.source import Part
from pipeline.inputs.spool import Spool
from pipeline.inputs.version import Version

LIMITS = Limits(backoff=0.001, backoff_max=0.002)


class Given:
    """A source that has what it is given, and counts."""

    shown = "given://x"

    def __init__(self, data: bytes, etag: str | None = '"1"', sized: bool = True) -> None:
        self.data = data
        self.etag = etag
        self.sized = sized
        self.brought = 0

    def open(self, known: Version | None, part: Part | None, patience: Patience) -> "GivenStream | None":
        version = Version(size=len(self.data) if self.sized else None, etag=self.etag)
        if known is not None and version.same(known):
            return None
        self.brought += 1
        start = part.size if part is not None and part.version.same_bytes(version) else 0
        return GivenStream(version, start, self.data)

    def close(self) -> None:
        """Nothing is open."""


class Absent(Given):
    def open(self, known: Version | None, part: Part | None, patience: Patience) -> "GivenStream | None":
        raise MissingError("it is not there")


class GivenStream:
    def __init__(self, version: Version, start: int, data: bytes) -> None:
        self.version = version
        self.start = start
        self._data = data

    def chunks(self, patience: Patience) -> Iterator[bytes]:
        for begin in range(self.start, len(self._data), 100):
            patience.check()
            yield self._data[begin : begin + 100]

    def confirm(self) -> None:
        """It is one version."""

    def close(self) -> None:
        """Nothing is open."""


def bring(cache: Cache, tmp_path: Path, url: str, source: Given) -> bytes:
    target = tmp_path / "job" / key_of(url)
    cache.bring(url, source, target, Patience(30), Gauge(1 << 40))
    data = target.read_bytes()
    target.unlink()
    return data


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Version(size=1, etag='"a"'), Version(size=1, etag='"a"'), True),
        (Version(size=1, etag='"a"'), Version(size=2, etag='"a"'), False),
        (Version(etag='"a"'), Version(size=2, etag='W/"a"'), True),
        (Version(size=1, etag='"a"', mtime="m"), Version(size=1, etag='"b"', mtime="m"), False),
        (Version(size=1, mtime="m"), Version(size=1, mtime="m"), True),
        (Version(size=1, mtime="m"), Version(size=1, mtime="n"), False),
        (Version(mtime="m"), Version(mtime="m"), False),
        (Version(size=1), Version(size=1), False),
        (Version(), Version(), False),
    ],
)
def test_a_version_is_the_same_only_on_evidence(one: Version, other: Version, same: bool) -> None:
    assert one.same(other) is other.same(one) is same


def test_a_weak_tag_promises_no_same_bytes() -> None:
    weak = Version(size=1, etag='W/"a"')
    assert weak.same(weak)
    assert not weak.same_bytes(weak)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    for number, name in enumerate("abc"):
        bring(cache, tmp_path, name, Given(b"x" * 300))
        os.utime(Entry(tmp_path / "cache", key_of(name)).lock, (number, number))
    bring(cache, tmp_path, "a", Given(b"x" * 300))
    bring(cache, tmp_path, "d", Given(b"x" * 300))
    assert [name for name in "abcd" if cache.has(name)] == ["a", "c", "d"]
    assert cache.sweep() == 900


def test_what_is_in_use_is_not_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    bring(cache, tmp_path, "a", Given(b"x" * 600))
    handle = Entry(tmp_path / "cache", key_of("a")).open()
    with pytest.raises(NoRoomError, match="in use"):
        bring(cache, tmp_path, "b", Given(b"x" * 600))
    os.close(handle)
    assert bring(cache, tmp_path, "b", Given(b"x" * 600)) == b"x" * 600
    assert cache.has("a") is None


def test_what_is_being_brought_is_not_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    bring(cache, tmp_path, "a", Given(b"x" * 600))
    with held(Entry(tmp_path / "cache", key_of("a")).lock, Patience(5)), pytest.raises(NoRoomError):
        bring(cache, tmp_path, "b", Given(b"x" * 600))


@pytest.mark.parametrize("sized", [True, False])
def test_a_file_larger_than_the_cache_leaves_nothing_there(tmp_path: Path, sized: bool) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    with pytest.raises(NoRoomError, match="whole cache"):
        bring(cache, tmp_path, "a", Given(b"x" * 2000, sized=sized))
    assert cache.sweep() == 0


def test_what_can_not_be_brought_leaves_no_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    with pytest.raises(MissingError):
        bring(cache, tmp_path, "a", Absent(b""))
    assert not Entry(tmp_path / "cache", key_of("a")).folder.exists()


def test_the_count_follows_what_is_replaced(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    for size in (400, 500, 300):
        assert len(bring(cache, tmp_path, "a", Given(b"x" * size, f'"{size}"'))) == size
    count = int((tmp_path / "cache" / "count").read_bytes())
    assert count == 300 == cache.sweep()


def test_a_lost_count_is_found_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000, LIMITS)
    bring(cache, tmp_path, "a", Given(b"x" * 600))
    for content in (b"", b"garbage that is no number at all"):
        (tmp_path / "cache" / "count").write_bytes(content)
        bring(cache, tmp_path, "b", Given(b"x" * 600, content.decode() or '"1"'))
        assert cache.sweep() <= 1000


@pytest.mark.parametrize("step", ["data", "_meta"])
def test_a_kill_while_an_entry_is_completed_leaves_the_old_one_or_none(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache", 10_000, LIMITS)
    bring(cache, tmp_path, "a", Given(b"old", '"1"'))
    entry = Entry(tmp_path / "cache", key_of("a"))
    dies_at = getattr(entry, step)
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        if target == dies_at:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            bring(cache, tmp_path, "a", Given(b"newer", '"2"'))
    assert (entry.meta() is None) is (step == "_meta")
    assert bring(cache, tmp_path, "a", Given(b"newer", '"2"')) == b"newer"


def test_a_part_is_gone_on_with_only_if_its_note_says_what_it_is(tmp_path: Path) -> None:
    path, note = tmp_path / "part", tmp_path / "part.json"
    version = Version(size=10, etag='"1"')
    spool = Spool(path, note)
    spool.begin(version, 0)
    spool.write(b"12345")
    spool.close()
    assert Spool(path, note).part() == Part(version, 5)
    note.write_bytes(note.read_bytes().replace(b'"boot":"', b'"boot":"another '))
    assert Spool(path, note).part() is None
    note.write_bytes(b"")
    assert Spool(path, note).part() is None


def test_a_new_version_never_stands_over_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, note = tmp_path / "part", tmp_path / "part.json"
    spool = Spool(path, note)
    spool.begin(Version(size=10, etag='"1"'), 0)
    spool.write(b"12345")
    spool.close()
    with monkeypatch.context() as patch:

        def dying(*_: object) -> int:
            raise KeyboardInterrupt

        patch.setattr(Path, "write_bytes", dying)
        with pytest.raises(KeyboardInterrupt):
            Spool(path, note).begin(Version(size=10, etag='"2"'), 0)
    assert Spool(path, note).part() is None


def test_a_full_disk_is_said_and_the_part_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "part", tmp_path / "part.json")
    spool.begin(Version(size=10), 0)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFullError, match="is full"):
            spool.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_old_entries_make_way_where_the_disk_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache", 10_000, LIMITS)
    bring(cache, tmp_path, "a", Given(b"x" * 600))

    def free(_: Path) -> int:
        return 500 if cache.has("a") else 1000

    monkeypatch.setattr("pipeline.inputs.room.free_bytes", free)
    assert bring(cache, tmp_path, "b", Given(b"x" * 800)) == b"x" * 800
    assert cache.has("a") is None
    with pytest.raises(DiskFullError):
        bring(cache, tmp_path, "c", Given(b"x" * 1200))


def test_a_lock_whose_file_is_removed_while_it_is_waited_for_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    flock, removed = fcntl.flock, []

    def removing(handle: int, how: int) -> None:
        if not removed:
            path.unlink()
            removed.append(path)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    os.close(first)


def test_a_lock_is_one_processs_and_threads_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    path.unlink()
    second = try_lock(path)
    assert second is not None
    os.close(first)
    assert try_lock(path) is None
    os.close(second)
    assert try_lock(tmp_path / "absent", create=False) is None


def test_patience_ends_with_its_time_or_when_it_is_cancelled() -> None:
    with pytest.raises(TimeLimitError):
        Patience(0.0).wait(10)
    whole = Patience(60)
    part = whole.within(30, "a part")
    whole.cancel()
    with pytest.raises(CancelledError):
        part.wait(10)
