"""Jobs that mean harm, run by a real worker process: it survives each of them, and the next job runs."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.containers.tail import tail
from pipeline.messages.report import COMPLETED, FAILED
from tests.growth import Growth
from tests.integration.hostile_support import GROWTH, MIB, SECRET, Arena, arena
from tests.integration.worker_support import ledger

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)], ids=["process", "docker"]
)
def hostile(request: pytest.FixtureRequest, kafka: str, servers_home: Path) -> Iterator[Arena]:
    """A worker for all tests of an engine: what one job does to it, the next ones' tests would notice."""
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    # not below pytest's own folder, which is closed to other users
    folder = servers_home / f"hostile-{request.param}"
    folder.mkdir()
    with ledger(kafka, folder, f"t{uuid.uuid4().hex[:8]}.") as playing, arena(playing, request.param, folder) as made:
        yield made


@pytest.fixture
def worker(hostile: Arena) -> Iterator[Arena]:
    """The worker; whatever a test does, it is unharmed afterwards, and did not grow since its first job."""
    with Growth(hostile.process.popen.pid, hostile.memory) as growth:
        yield hostile
        hostile.assert_unharmed()
    assert growth.mib < GROWTH / MIB, f"{growth.mib:.1f} MiB"


# processes

BOMB = """
import os, sys, time
end = time.monotonic() + 10
def born():
    with open("count", "ab", buffering=0) as file:
        file.write(b"x")
    return os.path.getsize("count")
def explode():
    while time.monotonic() < end and born() < 300:
        try:
            child = os.fork()
        except OSError:
            time.sleep(0.05)
            continue
        if child == 0 and sys.argv[1] == "apart":
            os.setsid()
    time.sleep(300)
if os.fork() == 0:
    explode()
while os.path.exists("count") is False or (os.path.getsize("count") < 30 and time.monotonic() < end):
    time.sleep(0.01)
"""


@pytest.mark.parametrize("how", ["together", "apart"])
def test_a_fork_bomb_ends_with_its_job(worker: Arena, how: str) -> None:
    said = worker.run(BOMB, how, runtime_options={"pids-limit": 100} if worker.engine == "docker" else {})
    assert said["kind"] == COMPLETED, said


COMET = """
import os, time
end = time.monotonic() + 20
if os.fork() == 0:
    os.setsid()
    while time.monotonic() < end:
        with open("trace", "ab", buffering=0) as file:
            file.write(b"x")
        if os.fork():
            os._exit(0)
    os._exit(0)
time.sleep(0.2)
"""


def test_a_process_that_is_another_one_all_the_time_is_ended(worker: Arena) -> None:
    said = worker.run(COMET)
    assert said["kind"] == COMPLETED
    trace = worker.directory(said) / "trace"
    sizes = [trace.stat().st_size]
    worker.assert_unharmed()
    sizes.append(trace.stat().st_size)
    assert sizes[0] == sizes[1], said.get("notes")


DAEMON = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 3)
    time.sleep(300)
"""


def test_a_daemon_ends_with_its_job(worker: Arena) -> None:
    assert worker.run(DAEMON)["kind"] == COMPLETED


def test_a_grandchild_that_holds_the_output_keeps_nobody_waiting(worker: Arena) -> None:
    script = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(300)\nprint('said')"
    said = worker.run(script)
    assert said["kind"] == COMPLETED
    assert said["job_info"]["cmd_duration"] < 30
    assert (worker.directory(said) / "_stdout.txt").read_text() == "said\n"


def test_a_job_that_closes_its_output_goes_on(worker: Arena) -> None:
    said = worker.run("import os, time\nos.closerange(0, 3)\ntime.sleep(0.3)\nopen('done', 'w')")
    assert said["kind"] == COMPLETED
    assert (worker.directory(said) / "done").exists()


def test_a_job_that_ignores_every_signal_it_can_is_ended_at_its_limit(worker: Arena) -> None:
    script = (
        "import signal, time\nfor number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "while True:\n    time.sleep(1)"
    )
    said = worker.run(script, job_info={"soft_time_limit": 0.5, "time_limit": 1})
    assert (said["kind"], said["category"]) == (FAILED, "hard-time-limit")


KILLER = """
import os, signal
for target in (os.getppid(), -1):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(target, number)
        except OSError as error:
            print(target == -1, number, error.strerror)
for entry in os.listdir("/proc"):
    if entry.isdigit() and int(entry) not in (1, os.getpid()):
        try:
            os.kill(int(entry), signal.SIGKILL)
        except OSError:
            pass
"""


def test_a_job_that_kills_whatever_it_may_kills_only_itself(worker: Arena) -> None:
    said = worker.run("import os; os.kill(os.getpid(), 9)")
    assert (said["kind"], said["job_info"]["status"]) == (FAILED, 137)
    worker.run(KILLER)


SPY = """
import glob, os
for pid in [os.getppid(), *filter(str.isdigit, os.listdir("/proc"))]:
    for what in ("environ", "cmdline", "mem", "root/etc/shadow"):
        try:
            with open(f"/proc/{pid}/{what}", "rb") as file:
                print(file.read(100_000) if what != "mem" else "opened")
        except OSError:
            pass
for name in glob.glob("../../../../../../../**", recursive=True) + glob.glob("/tmp/**/token.key", recursive=True):
    try:
        print(open(name).read(100_000))
    except (OSError, UnicodeDecodeError):
        pass
"""


def test_a_job_does_not_find_the_workers_secrets(worker: Arena) -> None:
    said = worker.run(SPY)
    assert said["kind"] == COMPLETED, said
    output = (worker.directory(said) / "_stdout.txt").read_bytes()
    assert output
    assert SECRET.encode() not in output


@pytest.mark.parametrize("hostile", [pytest.param("docker", marks=pytest.mark.docker)], ids=["docker"], indirect=True)
def test_a_job_that_takes_all_memory_is_ended_by_its_limit(worker: Arena) -> None:
    said = worker.run("hoard = [b'x' * (1 << 20) for _ in range(4096)]", needs={"memory_mib": 64})
    assert (said["kind"], said["category"]) == (FAILED, "out-of-memory")


FLOOD = """
import os, sys
data = (b"\\x00\\xff" * (1 << 19) if sys.argv[2] == "binary" else b"x" * (1 << 20))
for _ in range(int(sys.argv[1])):
    os.write(1, data)
os.write(1, b"end")
"""


@pytest.mark.parametrize(("what", "mib"), [("binary", 2048), ("one line", 100)])
def test_a_flood_of_output_is_cut_and_takes_no_memory(worker: Arena, what: str, mib: int) -> None:
    if worker.engine == "docker":
        # goes through the engine first, at some 20 MiB/s
        mib = min(mib, 2048 if os.environ.get("JOBSTREAM_LONG") else 64)
    said = worker.run(FLOOD, str(mib), what)
    assert said["kind"] == COMPLETED
    output = worker.directory(said) / "_stdout.txt"
    assert tail(output, 3) == b"end"
    if mib <= 256:
        assert output.stat().st_size == mib * MIB + 3
    else:
        assert output.stat().st_size < 256 * MIB + 100
        cut = f"_stdout.txt: {(mib - 256) * MIB + 3} bytes cut here: more than the {256 * MIB} that are kept"
        assert said["notes"] == [cut]
    output.unlink()


# the work directory

NAMES = (
    "_alt_error.txt _alt_traceback.txt _alt_msg.txt _alt_msg_details.txt _context.json _job.json _run.sh _stdout.txt"
    " _stderr.txt _exit_code _pid .running .done _docker_params.json _datasets.json _processors.txt x_pge_metrics.json"
    " y_docker_stats.json"
)
REPLACE = f"""
import os, shutil, sys
kind, target = sys.argv[1:]
for name in "{NAMES}".split():
    if os.path.lexists(name):
        os.remove(name)
    if kind == "link":
        os.symlink(target, name)
    elif kind == "fifo":
        os.mkfifo(name)
    elif kind == "directory":
        os.mkdir(name)
        open(os.path.join(name, "in it"), "w").close()
    elif kind == "huge":
        with open(name, "wb") as file:
            file.truncate(10 << 30)
sys.exit(3)
"""


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "huge"])
def test_what_stands_in_place_of_special_files_is_neither_followed_nor_waited_for(
    worker: Arena, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    said = worker.run(REPLACE, kind, str(secret))
    assert (said["kind"], said["job_info"]["status"]) == (FAILED, 3)
    assert "hush" not in str(said)
    assert secret.read_text() == "hush"
    assert len(str(said)) < 300_000
    directory = worker.directory(said)
    assert (directory / ".done").is_file()
    assert not (directory / ".done").is_symlink()
    if kind != "directory":
        assert (directory / "_exit_code").read_text() == "3\n"


def test_a_device_in_place_of_a_file_is_not_read(worker: Arena) -> None:
    # where a job may make one
    script = (
        "import os, sys\nfor name in ('_alt_error.txt', 'x_pge_metrics.json'):\n    try:\n"
        "        os.mknod(name, 0o20644, os.makedev(1, 5))\n    except OSError:\n        pass\nsys.exit(3)"
    )
    assert worker.run(script)["job_info"]["status"] == 3


def test_a_directory_without_rights_is_read_all_the_same(worker: Arena) -> None:
    script = (
        "import os\nopen('_alt_error.txt', 'w').write('said')\nos.mkdir('in')\n"
        "os.chmod('in', 0)\nos.chmod('.', 0)\nexit(3)"
    )
    said = worker.run(script)
    assert said["error"] == "said"


def test_a_job_that_removes_or_renames_its_directory_ends_like_any_other(worker: Arena) -> None:
    remove = "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\nexit(4)"
    assert worker.run(remove)["job_info"]["status"] == 4
    rename = "import os\ntry:\n    os.rename(os.getcwd(), os.getcwd() + '.x')\nexcept OSError:\n    exit(5)"
    said = worker.run(rename)
    assert said["job_info"]["status"] == 5


def test_a_directory_in_a_directory_in_a_directory_harms_nobody(worker: Arena) -> None:
    script = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\nopen('x_pge_metrics.json', 'w')"
    said = worker.run(script)
    assert said["kind"] in (COMPLETED, FAILED)


def test_many_small_files_and_odd_times_and_names_harm_nobody(worker: Arena) -> None:
    script = (
        "import os, sys\nfor number in range(int(sys.argv[1])):\n    os.close(os.open(str(number), os.O_CREAT))\n"
        "os.close(os.open(b'\\xff\\n\\x01', os.O_CREAT))\n"
        "for name in ('.', '_context.json', '.running', '1'):\n    os.utime(name, (0, 2**33))\n"
    )
    assert worker.run(script, "10000" if worker.engine == "process" else "1000")["kind"] == COMPLETED


# products

PRODUCT = """
import os, sys
def product(number, text='{"version": "v1"}'):
    name = f"PROD-{number}"
    os.mkdir(name)
    open(f"{name}/{name}.dataset.json", "w").write(text)
    return name
"""


@pytest.mark.parametrize("hostile", ["process"], indirect=True)
@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("os.symlink(sys.argv[1], product(1) + '/data')", "outside the job directory"),
        ("name = product(2) + '/PROD-2.dataset.json'; os.remove(name); os.symlink(sys.argv[1], name)", "levels of sym"),
        ("os.mkfifo(product(3) + '/data')", "not a regular file"),
        ("product(4, '[' * 100_000)", "not JSON"),
        ("product(5, '{\"version\": \"1\", \"a\": ' + '[' * 300 + ']' * 300 + '}')", "nested deeper"),
        ("product(6, '{\"version\": \"1\", \"a\": \"' + 'x' * (2 << 20) + '\"}')", "longer than"),
        ("product(7, '{\"version\": 1e999}')", "not JSON"),
        ("product('7/../8')", "No such file"),
        ("os.mkdir('a'); product(9); os.chdir('a'); product(9)", "two products are named PROD-9"),
        ("product('10\\n11')", "can't be a product's id"),
        ("os.symlink('.', product(12) + '/self')", "contains itself"),
    ],
)  # fmt: skip
def test_a_product_that_is_none_fails_its_job_and_publishes_nothing(
    worker: Arena, tmp_path: Path, script: str, says: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    said = worker.run(PRODUCT + script, str(secret))
    assert said["kind"] == FAILED
    assert says in said["error"] + str(said.get("traceback")), said["error"]
    assert "hush" not in str(said)
    assert list(worker.store.rglob("PROD-*")) == []
