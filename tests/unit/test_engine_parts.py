"""The pure parts of the engines: deadlines, output frames, options, mounts, users."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.containers.errors import RefusedError
from pipeline.containers.factory import EngineSettings, UnknownEngineError, engine, engine_names, names_of
from pipeline.containers.frames import Demultiplexer
from pipeline.containers.mounts import MountPolicy
from pipeline.containers.options import Options
from pipeline.containers.ownership import parse_user
from pipeline.containers.spec import Mount
from pipeline.containers.stop import Level
from pipeline.containers.supervise import GIVE_UP, KILL_AGAIN, Act, Deadlines
from pipeline.containers.tail import tail


def test_without_limits_nothing_is_ever_due() -> None:
    deadlines = Deadlines.of(100.0, None, None, 5.0)
    assert deadlines.next() == math.inf
    assert deadlines.look(1e9, Level.NONE) is Act.NOTHING


def test_a_soft_limit_terminates_once_and_leaves_time_until_the_hard_one() -> None:
    deadlines = Deadlines.of(100.0, 10.0, 20.0, 1.0)
    assert deadlines.look(109.9, Level.NONE) is Act.NOTHING
    assert deadlines.next() == 110.0
    assert deadlines.look(110.0, Level.NONE) is Act.TERMINATE
    assert deadlines.look(115.0, Level.NONE) is Act.NOTHING
    assert deadlines.next() == 120.0
    assert (deadlines.look(120.0, Level.NONE), deadlines.timed_out) == (Act.KILL, "hard")


def test_a_soft_limit_without_hard_one_kills_after_the_grace() -> None:
    deadlines = Deadlines.of(0.0, 10.0, None, 2.0)
    assert deadlines.look(10.0, Level.NONE) is Act.TERMINATE
    assert (deadlines.look(12.0, Level.NONE), deadlines.timed_out) == (Act.KILL, "soft")


def test_limits_that_passed_unseen_kill_at_once() -> None:
    deadlines = Deadlines.of(0.0, 10.0, 20.0, 2.0)
    assert (deadlines.look(50.0, Level.NONE), deadlines.timed_out) == (Act.KILL, "hard")


def test_a_stop_terminates_then_kills_after_the_grace() -> None:
    deadlines = Deadlines.of(0.0, None, None, 3.0)
    assert deadlines.look(1.0, Level.TERM) is Act.TERMINATE
    assert deadlines.look(2.0, Level.TERM) is Act.NOTHING
    assert deadlines.look(4.0, Level.TERM) is Act.KILL
    assert deadlines.stopped
    assert deadlines.timed_out is None


def test_an_escalated_stop_kills_at_once() -> None:
    deadlines = Deadlines.of(0.0, None, None, 300.0)
    assert deadlines.look(1.0, Level.TERM) is Act.TERMINATE
    assert deadlines.look(1.1, Level.KILL) is Act.KILL


def test_what_does_not_die_is_killed_again_and_then_given_up() -> None:
    deadlines = Deadlines.of(0.0, None, 10.0, 1.0)
    now, acts = 10.0, []
    while (act := deadlines.look(now, Level.NONE)) is not Act.GIVE_UP:
        acts.append(act)
        now = deadlines.next()
    assert set(acts) == {Act.KILL}
    assert len(acts) == GIVE_UP / KILL_AGAIN
    assert now == 10.0 + GIVE_UP


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))),
    st.lists(st.integers(min_value=1, max_value=30), min_size=1),
)
def test_frames_come_apart_wherever_they_are_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(struct.pack(">BxxxL", stream, len(part)) + part for stream, part in frames)
    demultiplexer, got, position, turn = Demultiplexer(), {1: b"", 2: b""}, 0, 0
    while position < len(data):
        step = cuts[turn % len(cuts)]
        for stream, part in demultiplexer.feed(data[position : position + step]):
            got[stream] += part
        position, turn = position + step, turn + 1
    for stream in (1, 2):
        assert got[stream] == b"".join(part for name, part in frames if name == stream)


def test_options_are_read_in_their_units() -> None:
    options = Options.of({"gpus": "all", "memory": "2g", "cpus": "0.5", "pids-limit": 9, "shm-size": "64m"})
    assert options == Options(gpus="all", memory_mib=2048, cpus=0.5, pids_limit=9, shm_mib=64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "-1"),
        ("memory", "1 g"),
        ("cpus", "nan"),
        ("cpus", 0),
        ("gpus", True),
        ("gpus", "0"),
        ("pids-limit", -1),
        ("network", "a b"),
        ("network", None),
        ("shm-size", {}),
    ],
)
def test_malformed_options_are_refused(name: str, value: object) -> None:
    with pytest.raises(RefusedError, match=name):
        Options.of({name: value})


@pytest.mark.parametrize("user", ["root", "0:0", "0:5", "5:0", "-1:-1", "1", "1:1:1", " 1:1", ""])
def test_only_unprivileged_numbers_are_users(user: str) -> None:
    with pytest.raises(RefusedError):
        parse_user(user)


def test_a_socket_or_device_is_never_mounted(tmp_path: Path) -> None:
    policy = MountPolicy(roots=(tmp_path, Path("/dev")))
    with pytest.raises(RefusedError, match="neither a file nor a directory"):
        policy.source("/dev/null", "ro")


def test_two_mounts_at_one_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    twice = [Mount(str(tmp_path), "/x"), Mount(str(tmp_path), "//x/")]
    with pytest.raises(RefusedError, match="two mounts"):
        MountPolicy(roots=(tmp_path,)).check(twice, tmp_path / "work")


def test_a_root_that_is_a_link_counts_as_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert MountPolicy(roots=(tmp_path / "root",)).source(f"{tmp_path}/root", "ro") == tmp_path / "real"


def test_a_tail_is_of_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert tail(tmp_path / "a", 4) == b"6789"
    assert tail(tmp_path / "link", 4) == tail(tmp_path, 4) == tail(tmp_path / "none", 4) == b""


def test_an_unknown_engine_is_refused_with_the_names_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownEngineError, match=r"'rkt' \(there are: apptainer, docker, noop, podman, process\)"):
        engine("rkt", EngineSettings(state_dir=tmp_path))


def test_singularity_is_another_name_of_apptainer(tmp_path: Path) -> None:
    assert engine("singularity", EngineSettings(state_dir=tmp_path)).name == "apptainer"
    assert names_of("singularity") == names_of("apptainer") == ("apptainer", "singularity")
    assert names_of("docker") == ("docker",)


def test_each_engine_is_called_what_the_factory_calls_it(tmp_path: Path) -> None:
    assert [engine(name, EngineSettings(state_dir=tmp_path)).name for name in engine_names()] == engine_names()
