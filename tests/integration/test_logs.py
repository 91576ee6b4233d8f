"""What jobs print, from the worker over jobs.logs to the command line."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaException
from typer.testing import CliRunner, Result

from agents.admin import apply
from agents.bus import consumer, read_to_end
from agents.worker.logs import UNDER_WAY, LogShipper
from ops.cli import exits
from ops.cli.main import app
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.ports import free_port
from pipeline.codec import Codec
from pipeline.identity import attempt_key, job_id
from pipeline.logs.chunker import CHUNK
from pipeline.messages.log import BROKER, LIMIT, RATE, LogChunk
from pipeline.messages.report import COMPLETED, FAILED, STARTED
from pipeline.settings import KafkaSettings, Settings, WorkerSettings
from tests.integration.played_ledger import PlayedLedger
from tests.integration.test_worker import runs
from tests.integration.worker_support import KEY, Ledger, ledger
from tests.waiting import until

MIB = 1 << 20
#: What a noisy job prints: as much as the requirement says where there is time for it.
LARGE = 2048 * MIB if os.environ.get("JOBSTREAM_LONG") else 256 * MIB


@pytest.fixture
def played(kafka: str, tmp_path: Path) -> Iterator[Ledger]:
    with ledger(kafka, tmp_path, f"l{uuid.uuid4().hex[:8]}.") as playing:
        yield playing


@pytest.fixture
def facts(played: Ledger) -> Iterator[PlayedLedger]:
    """Says what the ledger would of the jobs."""
    saying = PlayedLedger(played.settings)
    yield saying
    saying.close()


@pytest.fixture
def job() -> str:
    return job_id(uuid.uuid4().hex[:20], "s", "h", "c", "q")


def cli(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(app, list(words), env=settings.environment())


@contextmanager
def following(settings: Settings, folder: Path, *words: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Follow logs in a process of its own, to the files `out` and `err`; what is left of it is killed in the end."""
    command = [sys.executable, "-c", "from ops.cli.main import main; main()", "logs", "-f", *words]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, env=settings.environment(), stdout=out, stderr=err)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def chunks(settings: Settings) -> list[LogChunk]:
    """All that is on jobs.logs."""
    topic, codec = settings.topology.logs, Codec()
    client = consumer(settings, "test-logs")
    try:
        found = []
        for message in read_to_end(client, topic.name, range(topic.partitions)):
            chunk = LogChunk.of(codec.decode("log", message.value()))
            assert message.key() == attempt_key(chunk.job_id, chunk.attempt).encode()
            assert message.partition() == settings.topology.job_partition(chunk.job_id)
            found.append(chunk)
        return found
    finally:
        client.close()


def put(settings: Settings, facts: PlayedLedger, *made: LogChunk) -> None:
    for chunk in made:
        partition = settings.topology.job_partition(chunk.job_id)
        value = facts.codec.encode("log", chunk.record())
        key = attempt_key(chunk.job_id, chunk.attempt)
        facts.publisher.send(settings.topology.logs, key, value, partition).result(30)


def is_end(chunk: LogChunk) -> bool:
    return chunk.last and chunk.stream == "stdout"


def test_what_a_job_prints_is_read_from_any_machine_while_it_runs_and_after(
    played: Ledger, facts: PlayedLedger, job: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = (
        "import os, sys, time\n"
        "print('first: ', end='', flush=True)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
        "sys.stdout.buffer.write(b'\\x00\\xff\\x1b[31m\\n'); print('oops', file=sys.stderr)"
    )
    with played.worker(engine="process", log_rate_kib=64) as process:
        played.grant(played.holder(process), job, runs(script, str(go)))
        played.report(job, STARTED)
        facts.say(job, "job-started", attempt=1)
        assert until(lambda: cli(played.settings, "logs", job).stdout_bytes) == b"first: "
        go.touch()
        played.report(job, COMPLETED)
        facts.say(job, "job-completed", attempt=1)
        followed = cli(played.settings, "logs", job, "-f")
    assert followed.exit_code == exits.OK, followed.output
    assert followed.stdout_bytes == b"first: \x00\xff\x1b[31m\n"
    assert followed.stderr == "oops\n"
    assert cli(played.settings, "logs", job, "--stream", "stderr").stdout_bytes == b""
    sent = chunks(played.settings)
    assert [chunk.seq for chunk in sent] == list(range(1, len(sent) + 1))
    assert {chunk.stream for chunk in sent if chunk.last} == {"stdout", "stderr"}
    assert {chunk.worker for chunk in sent} == {"w1"}


def test_a_flood_a_binary_stream_and_an_endless_line_finish_in_bounded_memory(
    played: Ledger, facts: PlayedLedger
) -> None:
    line = "import sys; [sys.stdout.write('x' * 100_000) for _ in range(1000)]; sys.exit('bad')"
    binary = {"params": {"_command": f"head -c {20 * MIB} /dev/urandom"}}
    flood = {"params": {"_command": f"head -c {LARGE} /dev/zero"}}
    with played.worker(engine="process", output_mib=1, log_mib=1, slots=1) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-0", runs("print('warm')"))
        played.report("fa-0", COMPLETED)
        memory = psutil.Process(process.popen.pid)
        start, most = memory.memory_info().rss, 0

        def ended(name: str) -> bool:
            nonlocal most
            most = max(most, memory.memory_info().rss)
            return bool(played.of(name, COMPLETED, FAILED))

        for number, document in enumerate((flood, binary, runs(line)), 1):
            played.grant(holder, f"fa-{number}", document)
            until(partial(ended, f"fa-{number}"), 180, 0.01)
        assert (most - start) / MIB < 30, f"grew by {(most - start) / MIB:.1f} MiB"
        failed = played.result("fa-3", FAILED)
        # leaving kills the worker, and the last chunks go apart from the reports
        until(lambda: {"fa-1", "fa-2", "fa-3"} <= {one.job_id for one in chunks(played.settings) if is_end(one)})
    assert played.of("fa-1", COMPLETED)
    assert played.of("fa-2", COMPLETED)
    assert "\nbad\n_stdout.txt: " in failed["traceback"]
    assert "bytes cut here" in " ".join(played.result("fa-1", COMPLETED)["notes"])
    assert len(failed["job_info"]["stdout"]) < 3000
    assert failed["job_info"]["stdout"].startswith("[… ")
    for name, size in {"fa-1": LARGE, "fa-2": 20 * MIB, "fa-3": 100_000_000}.items():
        sent = [chunk for chunk in chunks(played.settings) if chunk.job_id == name and chunk.stream == "stdout"]
        assert sent[-1].last
        assert sent[-1].offset + len(sent[-1].data) == size
        assert sum(len(chunk.data) for chunk in sent) <= 2 * MIB
        assert sum(chunk.missing for chunk in sent) + sum(len(chunk.data) for chunk in sent) == size
        assert {chunk.why for chunk in sent} - {""} <= {RATE, LIMIT}


def test_a_broker_that_is_away_delays_nothing_and_costs_bounded_memory(tmp_path: Path) -> None:
    made = Settings(
        home=tmp_path,
        kafka=KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"),
        worker=WorkerSettings(log_mib=1000, log_rate_kib=1_000_000),
    )
    shipper = LogShipper(made)
    observer = shipper.of("fa-1", 1)
    begun = time.monotonic()
    for _ in range(2000):
        observer.told("stdout", b"x" * CHUNK)
    observer.ended()
    assert time.monotonic() - begun < 5
    begun = time.monotonic()
    shipper.close(0.2)
    assert time.monotonic() - begun < 5
    assert shipper._under_way <= UNDER_WAY + CHUNK + 1024


def test_what_was_printed_while_the_broker_was_away_is_sent_or_said_to_be_missing(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path / "broker", free_port(), free_port(), heap_mib=256)
    try:
        made = Settings(
            home=tmp_path,
            kafka=KafkaSettings(bootstrap=broker.start()),
            worker=WorkerSettings(log_mib=100, log_rate_kib=100_000),
        )
        apply(made)
        shipper = LogShipper(made)
        observer, printed = shipper.of("fa-1", 1), 0

        def prints(data: bytes) -> bool:
            nonlocal printed
            observer.told("stdout", data)
            printed += len(data)
            return shipper._under_way >= UNDER_WAY

        def arrived() -> list[LogChunk]:
            with suppress(KafkaException):
                return chunks(made)
            return []

        prints(b"before")
        until(arrived)
        broker.stop()
        until(lambda: prints(b"x" * CHUNK), 30, 0.001)
        for _ in range(100):
            prints(b"y" * CHUNK)
        broker.start()
        prints(b"after")
        observer.ended()
        shipper.close(90)
        sent = [chunk for chunk in until(arrived) if chunk.stream == "stdout"]
        assert sent[0].data == b"before"
        assert sent[-1].last
        assert sent[-1].data.endswith(b"after")
        assert BROKER in {chunk.why for chunk in sent}
        assert sum(len(chunk.data) + chunk.missing for chunk in sent) == printed
    finally:
        broker.stop()


def test_logs_can_be_switched_off(played: Ledger) -> None:
    with played.worker(engine="process", log_mib=0) as process:
        played.grant(played.holder(process), "fa-1", runs("print('quiet')"))
        played.report("fa-1", COMPLETED)
    assert chunks(played.settings) == []


def test_what_is_printed_holds_no_token(played: Ledger) -> None:
    with played.worker(engine="process") as process:
        holder = played.holder(process)
        token = played.grant(holder, "fa-1", runs("import os; print(dict(os.environ))")).token
        played.report("fa-1", COMPLETED)
        until(lambda: any(chunk.last for chunk in chunks(played.settings)))
    said = b"".join(chunk.data for chunk in chunks(played.settings)).decode()
    assert "HOME" in said
    assert token not in said
    assert KEY not in said


def test_following_begins_before_the_job_does_goes_on_with_its_next_attempt_and_ends_with_it(
    played: Ledger, facts: PlayedLedger, job: str, tmp_path: Path
) -> None:
    facts.say(job, "job-queued", attempt=1)
    went, wait = tmp_path / "went", "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    out, err = tmp_path / "out", tmp_path / "err"
    with played.worker(engine="process") as process, following(played.settings, tmp_path, job) as follow:
        holder = played.holder(process)
        played.grant(holder, job, runs(f"print('one', end='', flush=True)\n{wait}", str(went)))
        until(lambda: out.read_bytes() == b"one")
        went.touch()
        played.report(job, COMPLETED)
        facts.say(job, "job-queued", attempt=2)
        played.grant(holder, job, runs("print('two')"), attempt=2)
        until(lambda: out.read_bytes() == b"onetwo\n")
        assert follow.poll() is None
        facts.say(job, "job-completed", attempt=2)
        assert follow.wait(30) == exits.OK
    assert (out.read_bytes(), err.read_bytes()) == (b"onetwo\n", b"jobstream: attempt 2\n")


def test_what_is_missing_is_said_where_it_is(played: Ledger, facts: PlayedLedger, job: str) -> None:
    put(
        played.settings,
        facts,
        LogChunk(job, 1, "stdout", 1, 0, b"one "),
        LogChunk(job, 1, "stdout", 1, 0, b"one "),
        LogChunk(job, 1, "stdout", 2, 14, b"two", 10, LIMIT, last=True),
        LogChunk(job, 1, "stderr", 3, 0, b"", last=True),
    )
    facts.say(job, "job-completed", attempt=1)
    result = cli(played.settings, "logs", job, "-f")
    assert result.stdout == "one two"
    assert "10 bytes of stdout are missing here: it was more than" in result.stderr


def test_the_newest_attempt_is_shown_unless_another_is_asked_for(played: Ledger, facts: PlayedLedger, job: str) -> None:
    facts.say(job, "job-started", attempt=1)
    facts.say(job, "job-started", attempt=2)
    put(
        played.settings,
        facts,
        LogChunk(job, 1, "stdout", 1, 0, b"one\n"),
        LogChunk(job, 2, "stdout", 1, 0, b"two\n"),
    )
    assert cli(played.settings, "logs", job).stdout == "two\n"
    assert cli(played.settings, "logs", job, "--attempt", "1").stdout == "one\n"
    assert cli(played.settings, "logs", job, "-f", "--attempt", "1").stdout == "one\n"


def test_logs_that_are_gone_are_said_to_be(played: Ledger, facts: PlayedLedger, job: str) -> None:
    facts.say(job, "job-completed", attempt=1)
    result = cli(played.settings, "logs", job)
    assert result.exit_code == exits.NOT_FOUND
