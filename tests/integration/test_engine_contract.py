"""What every engine promises, run against each of them."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.containers.base import Engine
from pipeline.containers.docker import DockerEngine
from pipeline.containers.errors import RefusedError
from pipeline.containers.noop import NoopEngine
from pipeline.containers.options import Options
from pipeline.containers.outcome import Outcome
from pipeline.containers.process import ProcessEngine
from pipeline.containers.spec import Labels, Mount, RunSpec
from pipeline.containers.stop import Level, Stop
from tests.waiting import until

IMAGE, PYTHON_IMAGE = "jobstream/busybox:1", "jobstream/python:1"
#: A worker of this session's alone: others may test on the same container engine.
WORKER = f"w-{uuid.uuid4().hex[:12]}"
LABELS = Labels(job="fam-1", attempt=2, holder=f"{WORKER}:100:aa", worker=WORKER)
LATER = f"{WORKER}:200:bb"
#: A command that ignores SIGTERM and has a child in a session of its own that does too.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('child', 'w'); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
while not os.path.exists("child"):
    time.sleep(0.01)
print("up", flush=True)
time.sleep(300)
"""


@dataclass
class Bench:
    """An engine and a place to run commands in."""

    engine: Engine
    root: Path
    python: str

    def spec(self, *argv: str, **changes: Any) -> RunSpec:
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        out, err = work / "_stdout.txt", work / "_stderr.txt"
        image = IMAGE if self.engine.needs_image else None
        made = RunSpec(argv=argv, working_dir=work, stdout=out, stderr=err, labels=LABELS, image=image, grace=1.0)
        return replace(made, **changes)

    def sh(self, script: str, **changes: Any) -> RunSpec:
        return self.spec("sh", "-c", script, **changes)

    def py(self, script: str, **changes: Any) -> RunSpec:
        image = PYTHON_IMAGE if self.engine.needs_image else None
        return self.spec(self.python, "-c", script, **{"image": image, **changes})


def process_engine(root: Path, _: pytest.FixtureRequest) -> tuple[Engine, str]:
    return ProcessEngine(root / "state"), sys.executable


def docker_engine_of(root: Path, request: pytest.FixtureRequest) -> tuple[Engine, str]:
    request.getfixturevalue("docker_engine")
    (root / "input").mkdir()
    (root / "output").mkdir()
    return DockerEngine(roots=[root / "input"], writable_roots=[root / "output"]), "python3"


Maker = Callable[[Path, pytest.FixtureRequest], tuple[Engine, str]]
DOCKER = pytest.param(docker_engine_of, id="docker", marks=pytest.mark.docker)


@pytest.fixture(params=[pytest.param(process_engine, id="process"), DOCKER])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    make: Maker = request.param
    engine, python = make(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


@pytest.fixture(params=[DOCKER])
async def enclosed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Only engines that enclose what they run."""
    engine, python = request.param(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


async def shown(condition: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(until, condition)


def read(spec: RunSpec) -> tuple[bytes, bytes]:
    return spec.stdout.read_bytes(), spec.stderr.read_bytes()


def descendants_in(directory: Path) -> list[int]:
    """Processes of this host that work in a directory, in a container or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(directory):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_an_exit_code_is_the_commands_own(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.sh("exit 7"))
    assert (outcome.exit_code, outcome.signal, outcome.error) == (7, None, None)
    assert outcome.ran
    assert outcome.started <= outcome.ended
    assert not outcome.succeeded


async def test_exit_code_0_is_success(bench: Bench) -> None:
    assert (await bench.engine.run(bench.sh("exit 0"))).succeeded


async def test_a_death_by_signal_shows_as_128_and_the_signal(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.sh("kill -KILL $$"))
    assert (outcome.exit_code, outcome.signal) == (137, 9)
    assert not outcome.oom
    assert not outcome.stopped


async def test_output_arrives_byte_for_byte_and_apart(bench: Bench) -> None:
    spec = bench.py("import sys; sys.stdout.buffer.write(bytes(range(256)) * 3); sys.stderr.buffer.write(b'\\xff\\0')")
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec) == (bytes(range(256)) * 3, b"\xff\0")


async def test_large_output_arrives_to_the_last_byte(bench: Bench) -> None:
    spec = bench.py("import sys\nfor n in range(2000): sys.stdout.write('x' * 9999 + '\\n')\nsys.stdout.write('end')")
    assert (await bench.engine.run(spec)).succeeded
    assert spec.stdout.stat().st_size == 20_000_003
    assert spec.stdout.read_bytes()[-4:] == b"\nend"


async def test_output_before_a_kill_is_kept(bench: Bench) -> None:
    spec = bench.py(STUBBORN, time_limit=2.0)
    assert (await bench.engine.run(spec)).timed_out == "hard"
    assert read(spec)[0] == b"up\n"


async def test_standard_input_is_empty(bench: Bench) -> None:
    spec = bench.sh("cat; echo done")
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec)[0] == b"done\n"


async def test_the_command_starts_in_its_working_directory_and_can_write_there(bench: Bench) -> None:
    spec = bench.sh("pwd; echo made > product.txt; mkdir sub && echo $HOME")
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec)[0].decode() == f"{spec.working_dir}\n{spec.working_dir}\n"
    assert (spec.working_dir / "product.txt").read_text() == "made\n"


async def test_the_workers_environment_stays_with_the_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "hush")
    spec = bench.py("import os; print(sorted(os.environ))", env={"GIVEN": "1"})
    assert (await bench.engine.run(spec)).succeeded
    names = set(eval(read(spec)[0]))
    own = {"JOBSTREAM_RUN"}, {"TINI_KILL_PROCESS_GROUP", "HOSTNAME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    assert names - own[0] - own[1] - {"LC_CTYPE"} == {"GIVEN", "HOME", "LANG", "PATH"}


async def test_a_soft_limit_lets_the_command_tidy_up(bench: Bench) -> None:
    spec = bench.sh("trap 'echo tidied; exit 9' TERM; sleep 300", soft_time_limit=1.0, time_limit=60.0)
    outcome = await bench.engine.run(spec)
    assert (outcome.timed_out, outcome.exit_code) == ("soft", 9)
    assert read(spec)[0] == b"tidied\n"
    assert outcome.duration_s < 30


async def test_success_after_a_soft_limit_is_not_success(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.sh("trap 'exit 0' TERM; sleep 300", soft_time_limit=1.0))
    assert (outcome.timed_out, outcome.exit_code, outcome.succeeded) == ("soft", 0, False)


async def test_a_soft_limit_alone_kills_after_the_grace(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.py(STUBBORN, soft_time_limit=2.0, grace=0.5))
    assert (outcome.timed_out, outcome.exit_code) == ("soft", 137)


async def test_a_hard_limit_ends_a_command_and_all_its_descendants(bench: Bench) -> None:
    spec = bench.py(STUBBORN, soft_time_limit=1.0, time_limit=3.0)
    outcome = await bench.engine.run(spec)
    assert (outcome.timed_out, outcome.signal) == ("hard", 9)
    assert (spec.working_dir / "child").exists()
    assert descendants_in(spec.working_dir) == []


async def test_descendants_that_outlive_a_successful_command_are_ended(bench: Bench) -> None:
    spec = bench.sh("sleep 300 & (setsid sleep 300 &) ; exit 0")
    assert (await bench.engine.run(spec)).succeeded
    assert descendants_in(spec.working_dir) == []


async def test_a_stop_ends_a_command_by_sigterm(bench: Bench) -> None:
    spec, stop = bench.sh("trap 'echo bye; exit 3' TERM; echo up; sleep 300", grace=60.0), Stop()
    pids: list[int] = []
    run = asyncio.create_task(bench.engine.run(spec, stop, pids.append))
    await shown(lambda: spec.stdout.exists() and spec.stdout.read_bytes())
    stop.request(reason="revoked")
    outcome = await run
    assert (outcome.stopped, outcome.exit_code, outcome.timed_out) == (True, 3, None)
    assert pids == [outcome.pid]
    assert outcome.pid > 0
    assert read(spec)[0] == b"up\nbye\n"


async def test_a_stop_kills_a_command_that_ignores_it(bench: Bench) -> None:
    spec, stop = bench.py(STUBBORN, grace=0.5), Stop()
    run = asyncio.create_task(bench.engine.run(spec, stop))
    await shown(lambda: spec.stdout.exists() and spec.stdout.read_bytes())
    stop.request()
    outcome = await run
    assert (outcome.stopped, outcome.signal) == (True, 9)
    assert descendants_in(spec.working_dir) == []


async def test_a_stop_can_kill_at_once(bench: Bench) -> None:
    spec, stop = bench.py(STUBBORN, grace=600.0), Stop()
    run = asyncio.create_task(bench.engine.run(spec, stop))
    await shown(lambda: spec.stdout.exists() and spec.stdout.read_bytes())
    stop.request(Level.TERM)
    stop.request(Level.KILL)
    assert (await run).signal == 9


async def test_a_cancelled_caller_leaves_nothing_running(bench: Bench) -> None:
    spec = bench.py(STUBBORN)
    run = asyncio.create_task(bench.engine.run(spec))
    await shown(lambda: spec.stdout.exists() and spec.stdout.read_bytes())
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert descendants_in(spec.working_dir) == []
    assert await bench.engine.reap_orphans(WORKER, LATER) == []


async def test_a_command_that_does_not_exist_is_127_with_an_error(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.spec("no-such-command", "--flag"))
    assert outcome.exit_code == 127
    assert "no-such-command" in str(outcome.error)


async def test_a_command_that_is_no_program_is_an_error(bench: Bench) -> None:
    spec = bench.spec("./data.txt")
    (spec.working_dir / "data.txt").write_text("no program")
    outcome = await bench.engine.run(spec)
    assert outcome.exit_code in (126, 127)
    assert "data.txt" in str(outcome.error)


async def test_an_own_exit_code_of_127_is_no_engine_error(bench: Bench) -> None:
    outcome = await bench.engine.run(bench.sh("echo tini >&2; exit 127"))
    assert (outcome.exit_code, outcome.error) == (127, None)


async def test_a_working_directory_that_is_gone_is_an_error(bench: Bench) -> None:
    spec = replace(bench.sh("true"), working_dir=bench.root / "gone")
    outcome = await bench.engine.run(spec)
    assert outcome.exit_code == 125
    assert "gone" in str(outcome.error)


async def test_many_run_at_a_time(bench: Bench) -> None:
    specs = []
    for n in range(4):
        work = bench.root / f"work{n}"
        work.mkdir()
        files = {"working_dir": work, "stdout": work / "o", "stderr": work / "e"}
        specs.append(replace(bench.sh(f"echo {n}; exit {n}"), **files))
    outcomes = await asyncio.gather(*(bench.engine.run(spec) for spec in specs))
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 2, 3]
    assert [spec.stdout.read_bytes() for spec in specs] == [b"0\n", b"1\n", b"2\n", b"3\n"]


async def test_what_an_earlier_holder_left_is_reaped_and_named(bench: Bench) -> None:
    spec = bench.py(STUBBORN)
    left = await bench.engine._start(spec)
    await shown(spec.stdout.read_bytes)
    assert await bench.engine.reap_orphans(f"{WORKER}x", LATER) == []
    assert await bench.engine.reap_orphans(WORKER, LABELS.holder) == []
    assert descendants_in(spec.working_dir)
    (orphan,) = await bench.engine.reap_orphans(WORKER, LATER)
    assert (orphan.job, orphan.attempt, orphan.holder) == ("fam-1", 2, LABELS.holder)
    assert orphan.working_dir == spec.working_dir
    assert await shown(lambda: not descendants_in(spec.working_dir))
    assert await bench.engine.reap_orphans(WORKER, LATER) == []
    await left.wait()
    await left.finish()


async def test_what_ended_leaves_no_orphan(bench: Bench) -> None:
    await bench.engine.run(bench.sh("true"))
    assert await bench.engine.reap_orphans(WORKER, LATER) == []


async def test_the_command_line_for_a_person_runs_the_same(bench: Bench) -> None:
    spec = bench.sh("echo by hand; exit 5", env={"A": "b c"})
    line = bench.engine.command_line(spec)
    process = await asyncio.create_subprocess_exec(*line, cwd=spec.working_dir, stdout=asyncio.subprocess.PIPE)
    assert await process.communicate() == (b"by hand\n", None)
    assert process.returncode == 5


async def test_a_missing_image_is_named(enclosed: Bench) -> None:
    outcome = await enclosed.engine.run(enclosed.sh("true", image="jobstream/no-such-image:9"))
    assert outcome.exit_code == 125
    assert "jobstream/no-such-image:9" in str(outcome.error)


async def test_no_image_at_all_is_an_error(enclosed: Bench) -> None:
    assert "image" in str((await enclosed.engine.run(enclosed.sh("true", image=None))).error)


async def test_memory_beyond_the_limit_is_an_oom(enclosed: Bench) -> None:
    outcome = await enclosed.engine.run(enclosed.py("b = bytearray(300 << 20)", memory_mib=64))
    assert (outcome.oom, outcome.exit_code) == (True, 137)


async def test_an_oom_of_a_child_alone_is_noticed(enclosed: Bench) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'b = bytearray(300 << 20)'])"
    outcome = await enclosed.engine.run(enclosed.py(script, memory_mib=64))
    assert (outcome.oom, outcome.exit_code) == (True, 0)


async def test_there_is_no_network(enclosed: Bench) -> None:
    spec = enclosed.sh("ls /sys/class/net")
    assert (await enclosed.engine.run(spec)).succeeded
    assert read(spec)[0].split() == [b"lo"]


async def test_only_the_working_directory_and_tmp_can_be_written(enclosed: Bench) -> None:
    spec = enclosed.sh("for d in / /etc /bin; do echo x > $d/x && echo wrote $d; done; echo x > /tmp/x && echo x > x")
    assert (await enclosed.engine.run(spec)).succeeded
    assert read(spec)[0] == b""


async def test_the_images_root_is_read_only(enclosed: Bench) -> None:
    spec = enclosed.sh("grep ' / ' /proc/mounts")
    assert (await enclosed.engine.run(spec)).succeeded
    assert read(spec)[0].split()[3].startswith(b"ro")


def test_swap_is_part_of_the_memory_limit(enclosed: Bench) -> None:
    described = enclosed.engine.describe(enclosed.sh("true", memory_mib=64))
    assert described["mem_limit"] == described["memswap_limit"] == "64m"


async def test_the_command_has_no_privileges(enclosed: Bench) -> None:
    spec = enclosed.sh("id -u; id -g; grep -E '^(Cap(Eff|Bnd|Prm)|NoNewPrivs|Seccomp):' /proc/self/status")
    assert (await enclosed.engine.run(spec)).succeeded
    uid, gid, *status = read(spec)[0].decode().split()
    assert "0" not in (uid, gid)
    facts = dict(zip(status[::2], status[1::2], strict=True))
    assert all(int(facts[name], 16) == 0 for name in ("CapEff:", "CapPrm:", "CapBnd:"))
    assert (facts["NoNewPrivs:"], facts["Seccomp:"]) == ("1", "2")


async def test_processes_are_limited(enclosed: Bench) -> None:
    spec = enclosed.sh("for i in $(seq 40); do sleep 100 & done; wait", pids_limit=16, time_limit=20.0)
    outcome = await enclosed.engine.run(spec)
    assert outcome.exit_code == 2
    assert b"fork" in read(spec)[1]


async def test_the_container_is_gone_afterwards(enclosed: Bench) -> None:
    engine = enclosed.engine
    assert isinstance(engine, DockerEngine)
    await engine.run(enclosed.sh("true"))
    await engine.run(enclosed.spec("no-such-command"))
    client = engine._clients()[0]
    directory = f"jobstream.directory={enclosed.root / 'work'}"
    assert client.containers.list(all=True, filters={"label": directory}) == []


async def test_allowed_mounts_are_seen_in_their_mode(enclosed: Bench) -> None:
    (enclosed.root / "input/a.txt").write_text("given")
    (enclosed.root / "output").chmod(0o777)
    mounts = (
        Mount(str(enclosed.root / "input"), "/in"),
        Mount(str(enclosed.root / "output"), "out", "rw"),
    )
    spec = enclosed.sh("cat /in/a.txt; echo x > /in/b || echo refused; echo y > out/c", mounts=mounts)
    assert (await enclosed.engine.run(spec)).succeeded
    assert read(spec)[0] == b"givenrefused\n"
    assert (enclosed.root / "output/c").read_text() == "y\n"


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("/", "ro"),
        ("//", "ro"),
        ("/etc", "ro"),
        ("{root}/input/../..", "ro"),
        ("{root}/input/link-to-etc", "ro"),
        ("{root}/input/link-to-etc/passwd", "ro"),
        ("{root}/inputfoo", "ro"),
        ("{root}/input", "rw"),
        ("{root}/input/gone", "ro"),
        ("{socket}", "ro"),
        ("{socket_dir}", "ro"),
        ("input", "ro"),
    ],
)
async def test_mounts_that_are_not_allowed_are_refused(enclosed: Bench, host: str, mode: str) -> None:
    (enclosed.root / "input/link-to-etc").symlink_to("/etc")
    (enclosed.root / "inputfoo").mkdir()
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    path = host.format(root=enclosed.root, socket=socket, socket_dir=socket.parent)
    outcome = await enclosed.engine.run(enclosed.sh("true", mounts=(Mount(path, "/x", mode),)))  # type: ignore[arg-type]
    assert outcome.exit_code == 125
    assert "mount of" in str(outcome.error)
    assert not outcome.ran


async def test_the_engines_socket_is_refused_even_within_an_allowed_folder(
    enclosed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = enclosed.root / "engine"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
    engine = DockerEngine(roots=[enclosed.root])
    spec = enclosed.sh("true", mounts=(Mount(str(folder), "/x"),))
    with pytest.raises(RefusedError, match="socket"):
        engine.command_line(spec)


@pytest.mark.parametrize("target", ["/", "/proc/x", "//proc/x", "//", "/dev", "{work}", "{parent}", "../x"])
async def test_container_paths_that_hide_something_are_refused(enclosed: Bench, target: str) -> None:
    path = target.format(work=enclosed.root / "work", parent=enclosed.root)
    outcome = await enclosed.engine.run(enclosed.sh("true", mounts=(Mount(str(enclosed.root / "input"), path),)))
    assert (outcome.exit_code, outcome.ran) == (125, False)
    assert "mount at" in str(outcome.error)


async def test_root_and_other_networks_are_refused(enclosed: Bench) -> None:
    for change in ({"user": "0:0"}, {"network": "host"}, {"user": "root"}):
        outcome = await enclosed.engine.run(enclosed.sh("true", **change))
        assert (outcome.exit_code, outcome.ran) == (125, False)


@pytest.mark.parametrize("option", ["volume", "privileged", "v", "mount", "cap-add", "device", "pid", "security-opt"])
def test_runtime_options_that_are_not_listed_are_refused(option: str) -> None:
    with pytest.raises(RefusedError, match=f"'{option}'"):
        Options.of({"gpus": "all", option: "x"})


def noop_spec(tmp_path: Path, **changes: Any) -> RunSpec:
    return Bench(NoopEngine(), tmp_path, "").spec(**changes)


async def test_noop_succeeds_at_once_with_empty_output(tmp_path: Path) -> None:
    spec = noop_spec(tmp_path)
    outcome: Outcome = await NoopEngine().run(spec)
    assert outcome.succeeded
    assert outcome.pid == 0
    assert read(spec) == (b"", b"")


async def test_noop_lasts_as_long_as_asked(tmp_path: Path) -> None:
    outcome = await NoopEngine().run(noop_spec(tmp_path, params={"duration": 0.2}))
    assert outcome.succeeded
    assert outcome.duration_s >= 0.19


async def test_noop_obeys_limits_and_stops(tmp_path: Path) -> None:
    limited = await NoopEngine().run(noop_spec(tmp_path, env={"duration": "300"}, time_limit=0.1))
    assert (limited.timed_out, limited.signal) == ("hard", 9)
    stop = Stop()
    stop.request()
    stopped = await NoopEngine().run(noop_spec(tmp_path, params={"duration": 300}), stop)
    assert (stopped.stopped, stopped.signal) == (True, 15)


async def test_noop_says_what_is_wrong_with_a_duration(tmp_path: Path) -> None:
    outcome = await NoopEngine().run(noop_spec(tmp_path, params={"duration": "long"}))
    assert "'long'" in str(outcome.error)
