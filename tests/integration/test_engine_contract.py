"""What every engine promises, run against each of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.containers.base import Engine
from pipeline.containers.stop import Level, Stop
from tests.integration.engine_support import (
    ENGINES,
    LABELS,
    LATER,
    PAIR,
    STUBBORN,
    WORKER,
    Bench,
    descendants_in,
    read,
    run_elsewhere,
    shown,
)

Maker = Callable[[Path, pytest.FixtureRequest], tuple[Engine, str]]


@pytest.fixture(params=ENGINES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    make: Maker = request.param
    engine, python = make(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


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
    spec = bench.py(STUBBORN, time_limit=4.0)
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
    own = (
        {"JOBSTREAM_RUN"},
        {"TINI_KILL_PROCESS_GROUP", "HOSTNAME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"},
        {"TERM", "container"},
        {name for name in names if name.startswith(("APPTAINER_", "SINGULARITY_"))},
        {"PWD", "PS1", "PROMPT_COMMAND", "LD_LIBRARY_PATH"},
    )
    assert names.difference(*own) - {"LC_CTYPE"} == {"GIVEN", "HOME", "LANG", "PATH"}


async def test_values_of_the_environment_arrive_as_they_are(bench: Bench) -> None:
    value = "two\nlines, $(id) `id` $HOME \\ \"quoted\" 'ü'"
    spec = bench.py("import os, sys; sys.stdout.buffer.write(os.environb[b'GIVEN'])", env={"GIVEN": value})
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec)[0].decode() == value


async def test_what_a_command_makes_belongs_to_its_user(bench: Bench) -> None:
    uid, gid = (20001, 20002) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    spec = bench.sh("id -u; id -g; echo x > made; mkdir sub", user=f"{uid}:{gid}")
    assert (await bench.engine.run(spec)).succeeded
    assert read(spec)[0].split() == [b"%d" % uid, b"%d" % gid]
    for name in ("made", "sub"):
        made = (spec.working_dir / name).stat()
        assert (made.st_uid, made.st_gid) == (uid, gid)


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
    spec = bench.py(STUBBORN, soft_time_limit=2.5, time_limit=4.0)
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


async def test_a_stop_tells_each_process_of_the_command_once(bench: Bench) -> None:
    spec, stop = bench.py(PAIR, grace=60.0, env={"PAIR": PAIR}), Stop()
    run = asyncio.create_task(bench.engine.run(spec, stop))
    await shown(lambda: spec.stdout.exists() and spec.stdout.read_bytes().count(b"up\n") == 2)
    stop.request()
    assert (await run).exit_code == 0
    assert sorted(read(spec)[0].split()) == [b"child-15", b"parent-15", b"up", b"up"]


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


@pytest.mark.parametrize("code", [126, 127, 255])
async def test_an_own_exit_code_is_no_engine_error(bench: Bench, code: int) -> None:
    outcome = await bench.engine.run(bench.sh(f"echo tini >&2; exit {code}"))
    assert (outcome.exit_code, outcome.error) == (code, None)


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


async def test_what_a_killed_worker_left_is_reaped(bench: Bench) -> None:
    spec = bench.py(STUBBORN)
    worker = run_elsewhere(bench, spec)
    try:
        await shown(lambda: spec.stdout.exists() and spec.stdout.read_bytes())
    finally:
        worker.kill()
        worker.wait()
    assert descendants_in(spec.working_dir)
    assert [orphan.working_dir for orphan in await bench.engine.reap_orphans(WORKER, LATER)] == [spec.working_dir]
    assert await shown(lambda: not descendants_in(spec.working_dir))


async def test_what_ended_leaves_no_orphan(bench: Bench) -> None:
    await bench.engine.run(bench.sh("true"))
    assert await bench.engine.reap_orphans(WORKER, LATER) == []


async def test_the_command_line_for_a_person_runs_the_same(bench: Bench) -> None:
    spec = bench.sh("echo by hand; exit 5", env={"A": "b c"})
    line = bench.engine.command_line(spec)
    process = await asyncio.create_subprocess_exec(*line, cwd=spec.working_dir, stdout=asyncio.subprocess.PIPE)
    assert await process.communicate() == (b"by hand\n", None)
    assert process.returncode == 5
