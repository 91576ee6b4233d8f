"""Orchestrators that die between a family's row and the documents that are deleted with it, with a real broker."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.bus import consumer, read_to_end
from ops.cli import exits
from ops.cli.main import app
from tests.integration.ledger_bench import Bench, Orchestrator

WHOLE = ["job-queued", "job-started", "job-completed"]
#: no crash point: documents are deleted from the local store, and not from the changelog
DELETED_HERE = "deleted here"
#: ends the process at a point, in the first batch that deletes a document
DYING = """
import os, signal
from agents.orchestrator import partition, tables
row, here, deletes = tables.LedgerTables.deletions_row, partition.here, []
finished = partition.Partition._finished
def deletions_row(self, *args):
    deletes.append(args)
    return row(self, *args)
def dying(name):
    if deletes and name == "POINT":
        os.kill(os.getpid(), signal.SIGKILL)
    here(name)
def reaching(self, batch):
    if "POINT" == "deleted here":
        dying("POINT")
    return finished(self, batch)
tables.LedgerTables.deletions_row, partition.here, partition.Partition._finished = deletions_row, dying, reaching
"""


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[Bench]:
    prefix = f"del{time.time_ns() % 10**9}."
    made = Bench(kafka, tmp_path / "bench", prefix, {"inbox_partitions": 1}, tick_ms=200, document_ms=2000,
                 session_ms=6000)  # fmt: skip
    yield made
    made.close()


@pytest.fixture
def running() -> Iterator[list[Orchestrator]]:
    started: list[Orchestrator] = []
    yield started
    for one in started:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)


def _documents(bench: Bench) -> set[bytes]:
    """The keys of the documents that whoever reads the changelog finds."""
    left: dict[bytes, bytes | None] = {}
    client = consumer(bench.settings, "changelog")
    for message in read_to_end(client, bench.topology.changelogs()[1].name, [0]):
        left[message.key()] = message.value()
    client.close()
    return {key for key, value in left.items() if value is not None}


@pytest.mark.parametrize("disk", ["its own", "a fresh one"])
@pytest.mark.parametrize("point", ["ledger.families-stored", "ledger.families-delivered", DELETED_HERE])
def test_documents_go_whose_deletion_an_owner_died_before(
    bench: Bench, running: list[Orchestrator], point: str, disk: str
) -> None:
    bench.forwards_ticks = True
    dying = bench.orchestrator()
    running.append(dying.start(before=DYING.replace("POINT", point)))
    job = bench.submit("past")
    bench.until_all([job], WHOLE)
    assert dying.process is not None
    bench.until(lambda: dying.process.poll() is not None, what="dead")  # type: ignore[union-attr]
    assert dying.process.returncode == -signal.SIGKILL
    assert _documents(bench) == {job.encode()}
    # no time passes: no sweep finds what the messages that are read again leave
    bench.forwards_ticks = False
    bench.control("retry", job, '{"force": true}')
    running.append(bench.orchestrator("a" if disk == "its own" else "fresh").start())
    bench.until_all([job], [*WHOLE, "control-refused"])
    assert _documents(bench) == set()
    verified = CliRunner().invoke(app, ["ledger", "verify"], env=bench.environment)
    assert verified.exit_code == exits.OK, verified.output
