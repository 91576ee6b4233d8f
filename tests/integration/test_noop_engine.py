"""The engine that runs nothing keeps to the same contract."""

from pathlib import Path
from typing import Any

from pipeline.containers.noop import NoopEngine
from pipeline.containers.outcome import Outcome
from pipeline.containers.spec import RunSpec
from pipeline.containers.stop import Stop
from tests.integration.engine_support import Bench, read


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
