"""What commands print: any bytes, however many, in bounded memory and files."""

import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from pipeline.containers.base import Engine
from pipeline.containers.output import KEPT_END, Stream
from pipeline.containers.process import ProcessEngine
from tests.growth import Growth
from tests.integration.engine_support import Bench, apptainer_engine_of, docker_engine_of, process_engine, read
from tests.waiting import until

Maker = Callable[[Path, pytest.FixtureRequest], tuple[Engine, str]]
MIB = 1 << 20
#: What a noisy command prints: as much as the requirement says where there is time for it.
LARGE = 2048 * MIB if os.environ.get("JOBSTREAM_LONG") else 256 * MIB


@pytest.fixture(
    params=[
        pytest.param(process_engine, id="process"),
        pytest.param(docker_engine_of, id="docker", marks=pytest.mark.docker),
        pytest.param(apptainer_engine_of, id="apptainer", marks=pytest.mark.docker),
    ]
)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    make: Maker = request.param
    engine, python = make(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


class Seen:
    """An observer that counts."""

    def __init__(self) -> None:
        self.counts = {"stdout": 0, "stderr": 0}
        self.digest = hashlib.sha256()
        self.first = threading.Event()

    def told(self, stream: Stream, data: bytes) -> None:
        self.counts[stream] += len(data)
        if stream == "stdout":
            self.digest.update(data)
        self.first.set()

    def ended(self) -> None:
        raise AssertionError("an engine doesn't know when all is said")


async def test_a_flood_of_output_is_cut_in_its_file_and_takes_no_memory(bench: Bench) -> None:
    # A container's output goes through its engine first, at some 20 MiB/s.
    large = LARGE // 4 if bench.engine.needs_image else LARGE
    seen = Seen()
    spec = bench.sh(f"echo first; head -c {large} /dev/zero; echo last; echo oops >&2", output_limit=MIB, observer=seen)
    assert (await bench.engine.run(bench.sh("true"))).succeeded
    with Growth() as growth:
        outcome = await bench.engine.run(spec)
    out, err = read(spec)
    assert outcome.succeeded
    assert seen.counts == {"stdout": large + 11, "stderr": 5}
    assert err == b"oops\n"
    assert out.startswith(b"first\n")
    assert out.endswith(b"\0last\n")
    cut = large + 11 - MIB
    assert f"\n[jobstream] {cut} bytes cut here: more than the {MIB} that are kept\n".encode() in out
    assert len(out) < MIB + 100
    assert any(f"_stdout.txt: {cut} bytes cut" in note for note in outcome.notes)
    assert growth.mib < 30, f"{growth.mib:.1f} MiB"


async def test_a_line_of_100_mb_takes_no_memory_and_is_quoted_by_its_end(bench: Bench) -> None:
    seen = Seen()
    script = "import sys; [sys.stdout.write('x' * 100_000) for _ in range(1000)]; sys.stdout.write('end')"
    with Growth() as growth:
        assert (await bench.engine.run(bench.py(script, observer=seen))).succeeded
    assert seen.counts["stdout"] == 100_000_003
    assert growth.mib < 30, f"{growth.mib:.1f} MiB"


async def test_any_bytes_reach_file_and_observer_in_order(bench: Bench) -> None:
    seen = Seen()
    spec = bench.py("import sys; sys.stdout.buffer.write(bytes(range(256)) * 40_000)", observer=seen)
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec)[0] == bytes(range(256)) * 40_000
    assert seen.digest.digest() == hashlib.sha256(bytes(range(256)) * 40_000).digest()


async def test_a_partial_line_is_seen_while_the_command_runs(bench: Bench) -> None:
    seen = Seen()
    spec = bench.sh("printf 'a prompt: '; while [ ! -e go ]; do sleep 0.05; done; echo", observer=seen)

    def let_go() -> None:
        if seen.first.wait(30):
            (spec.working_dir / "go").touch()

    waiting = threading.Thread(target=let_go)
    waiting.start()
    outcome = await bench.engine.run(spec)
    waiting.join()
    assert outcome.succeeded
    assert read(spec)[0] == b"a prompt: \n"


async def test_an_observer_that_fails_doesnt_disturb_the_command(bench: Bench) -> None:
    class Broken(Seen):
        def told(self, stream: Stream, data: bytes) -> None:
            self.counts[stream] += 1
            raise RuntimeError

    broken = Broken()
    spec = bench.sh("echo a; sleep 0.2; echo b", observer=broken)
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec)[0] == b"a\nb\n"
    assert broken.counts["stdout"] == 1


async def test_the_end_is_kept_to_the_byte_where_the_middle_is_cut(bench: Bench) -> None:
    script = "import sys\nfor n in range(200_000): sys.stdout.write(f'{n:09}\\n')"
    spec = bench.py(script, output_limit=3 * KEPT_END)
    assert (await bench.engine.run(spec)).succeeded
    whole = b"".join(b"%09d\n" % n for n in range(200_000))
    out = read(spec)[0]
    assert out[: 2 * KEPT_END] == whole[: 2 * KEPT_END]
    assert out[-KEPT_END:] == whole[-KEPT_END:]


async def test_a_command_may_open_its_standard_output_again(bench: Bench) -> None:
    spec = bench.sh("echo a > /dev/stdout; echo b > /proc/self/fd/2")
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec) == (b"a\n", b"b\n")


async def test_a_process_that_gets_away_with_the_output_doesnt_hold_the_run(tmp_path: Path) -> None:
    # Without the variable that marks it, and in a session of its own, nobody finds it.
    bench = Bench(ProcessEngine(tmp_path / "state"), tmp_path, "")
    spec = bench.sh("env -i setsid sh -c 'echo $$ > pid; exec sleep 60' & while [ ! -s pid ]; do sleep 0.02; done")
    try:
        outcome = await bench.engine.run(spec)
        assert outcome.exit_code == 0
        assert any("left the run" in note for note in outcome.notes)
    finally:
        pid = int(until((spec.working_dir / "pid").read_text))
        psutil.Process(pid).kill()
