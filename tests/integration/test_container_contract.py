"""What engines promise that enclose what they run: images, isolation, limits, mounts."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pipeline.containers.base import Engine
from pipeline.containers.errors import RefusedError
from pipeline.containers.options import Options
from pipeline.containers.spec import Mount
from tests.integration.engine_support import CONFINING, ENCLOSING, Bench, allowing, left_of, read

Maker = Callable[[Path, pytest.FixtureRequest], tuple[Engine, str]]


@pytest.fixture(params=ENCLOSING)
async def enclosed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Only engines that enclose what they run."""
    make: Maker = request.param
    engine, python = make(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


async def test_a_missing_image_is_named(enclosed: Bench) -> None:
    outcome = await enclosed.engine.run(enclosed.sh("true", image="jobstream/no-such-image:9"))
    assert outcome.exit_code == 125
    assert "jobstream/no-such-image:9" in str(outcome.error)


async def test_the_image_that_was_looked_up_is_run_whatever_its_name_stands_for_by_now(enclosed: Bench) -> None:
    image = await enclosed.engine.image_id(enclosed.sh("true").image)
    outcome = await enclosed.engine.run(enclosed.sh("true", image="jobstream/moved:1", image_id=image))
    assert (outcome.succeeded, outcome.image_id) == (True, image)


async def test_no_image_at_all_is_an_error(enclosed: Bench) -> None:
    assert "image" in str((await enclosed.engine.run(enclosed.sh("true", image=None))).error)


async def test_memory_beyond_the_limit_is_an_oom(enclosed: Bench) -> None:
    outcome = await enclosed.engine.run(enclosed.py("b = bytearray(300 << 20)", memory_mib=64))
    assert (outcome.oom, outcome.exit_code) == (True, 137)


async def test_an_oom_of_a_child_alone_is_noticed(enclosed: Bench) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'b = bytearray(300 << 20)'])"
    outcome = await enclosed.engine.run(enclosed.py(script, memory_mib=64))
    assert (outcome.oom, outcome.exit_code) == (True, 0)


async def test_what_a_command_used_is_known(enclosed: Bench) -> None:
    script = "import mmap, os, time; b = bytearray(30 << 20)\nwhile time.process_time() < 0.3: pass\n"
    script += (
        "f = os.open('x', os.O_CREAT | os.O_WRONLY | os.O_DIRECT); os.write(f, mmap.mmap(-1, 1 << 20)); time.sleep(0.5)"
    )
    usage = (await enclosed.engine.run(enclosed.py(script))).usage
    assert usage is not None
    assert 0.25 < usage.user_cpu_s + usage.system_cpu_s < 30
    assert 30 << 20 < usage.max_memory < 300 << 20
    assert usage.written_bytes >= 1 << 20


async def test_gpus_where_there_are_none_are_left_out_and_noted(enclosed: Bench) -> None:
    outcome = await enclosed.engine.run(enclosed.sh("true", gpus="all"))
    assert outcome.succeeded
    assert "GPU" in " ".join(outcome.notes)


async def test_processor_time_is_limited(enclosed: Bench) -> None:
    script = "import time; t = time.monotonic()\nwhile time.monotonic() - t < 1: pass\nprint(time.process_time())"
    spec = enclosed.py(script, cpus=0.25)
    assert (await enclosed.engine.run(spec)).succeeded
    assert float(read(spec)[0]) < 0.6


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
    spec = enclosed.sh("true", memory_mib=64)
    described = enclosed.engine.describe(spec)
    assert described["mem_limit"] == described["memswap_limit"] == "64m"
    line = " ".join(enclosed.engine.command_line(spec)).lower()
    assert "--memory 64m --memory-swap 64m" in line


async def test_the_command_has_no_privileges(enclosed: Bench) -> None:
    spec = enclosed.sh("id -u; id -g; grep -E '^(Cap(Eff|Bnd|Prm)|NoNewPrivs|Seccomp):' /proc/self/status")
    assert (await enclosed.engine.run(spec)).succeeded
    uid, gid, *status = read(spec)[0].decode().split()
    assert "0" not in (uid, gid)
    facts = dict(zip(status[::2], status[1::2], strict=True))
    assert all(int(facts[name], 16) == 0 for name in ("CapEff:", "CapPrm:", "CapBnd:"))
    assert (facts["NoNewPrivs:"], facts["Seccomp:"]) == ("1", "2")


@pytest.mark.parametrize("enclosed", CONFINING, indirect=True)
async def test_the_command_can_make_no_namespaces(enclosed: Bench) -> None:
    # In one of users it would have all capabilities again.
    script = """
import ctypes
call = ctypes.CDLL(None, use_errno=True).syscall
USER = 0x10000000
clone3 = (ctypes.c_uint64 * 8)(USER, 0, 0, 0, 17)
print(call(272, USER), ctypes.get_errno(), call(56, USER | 17, 0, 0, 0, 0), ctypes.get_errno())
print(call(435, clone3, ctypes.sizeof(clone3)), ctypes.get_errno())
"""
    spec = enclosed.py(script)
    assert (await enclosed.engine.run(spec)).succeeded
    assert read(spec)[0].split() == [b"-1", b"1", b"-1", b"1", b"-1", b"38"]


async def test_tmp_is_half_as_large_as_the_memory(enclosed: Bench) -> None:
    spec = enclosed.sh("dd if=/dev/zero of=/tmp/x bs=1M count=40 || ls -l /tmp/x", memory_mib=64)
    assert (await enclosed.engine.run(spec)).succeeded
    assert b"No space left" in read(spec)[1]
    assert str(32 << 20).encode() in read(spec)[0]


async def test_the_images_environment_is_there_and_gives_way(enclosed: Bench) -> None:
    script = "import os; print(*(os.environ[name] for name in ('LANG', 'PYTHONPATH', 'PYTHONDONTWRITEBYTECODE')))"
    spec = enclosed.py(script, env={"PYTHONPATH": "/mine"})
    assert (await enclosed.engine.run(spec)).succeeded
    assert read(spec)[0].split() == [b"C.UTF-8", b"/mine", b"1"]


async def test_processes_are_limited(enclosed: Bench) -> None:
    spec = enclosed.sh("for i in $(seq 40); do sleep 100 & done; wait", pids_limit=16, time_limit=20.0)
    outcome = await enclosed.engine.run(spec)
    assert outcome.exit_code == 2
    assert b"fork" in read(spec)[1]


async def test_the_container_is_gone_afterwards(enclosed: Bench) -> None:
    for spec in (enclosed.sh("true"), enclosed.spec("no-such-command"), enclosed.sh("sleep 60", time_limit=0.5)):
        outcome = await enclosed.engine.run(spec)
        assert left_of(enclosed.engine, outcome, spec.working_dir) == []


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
    socket = _socket_of(enclosed.engine)
    path = host.format(root=enclosed.root, socket=socket, socket_dir=socket.parent)
    outcome = await enclosed.engine.run(enclosed.sh("true", mounts=(Mount(path, "/x", mode),)))  # type: ignore[arg-type]
    assert outcome.exit_code == 125
    assert "mount of" in str(outcome.error)
    assert not outcome.ran


async def test_an_engines_socket_is_refused_even_within_an_allowed_folder(
    enclosed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = enclosed.root / "engine"
    folder.mkdir()
    for name in ("DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.setenv(name, f"unix://{folder}/engine.sock")
    engine = allowing(enclosed.engine, enclosed.root)
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


def _socket_of(engine: Engine) -> Path:
    host, usual = (
        ("CONTAINER_HOST", "/run/podman/podman.sock")
        if engine.name == "podman"
        else ("DOCKER_HOST", "/var/run/docker.sock")
    )
    return Path(os.environ.get(host, usual).removeprefix("unix://"))
