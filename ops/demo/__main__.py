"""`python -m ops.demo`: start everything, run the campaign, show what happened, stop everything."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.index_reader import IndexReader, IndexUnavailableError
from ops.cli import exits
from ops.cli.errors import explained, say
from ops.cli.progress import progress
from ops.cluster import Cluster
from ops.demo import image, outcome, report
from ops.demo.campaign import Campaign
from ops.demo.errors import DemoError
from ops.demo.stage import DOCKER, HOME, PROCESS, Stage
from ops.demo.submissions import plan
from ops.reading.log import BrokerError
from pipeline.statuses import Status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 only if every job ended as it had to, 1 if one didn't, else one of `ops.cli.exits`."""
    options = _options(arguments)
    begun = time.monotonic()
    stage = Stage(options.home.resolve(), options.engine, time.strftime("%Y%m%d-%H%M%S", time.gmtime()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with stage.occupied():
            wrong = _live(stage, keep=options.keep)
    except KeyboardInterrupt:
        say("demo: interrupted")
        return exits.INTERRUPTED
    except Exception as error:
        return _failed(error)
    for one in wrong:
        say(f"demo: not as it should be: {one}")
    report.heading(f"demo: {'everything as expected' if not wrong else 'failed'}, {time.monotonic() - begun:.0f} s")
    return exits.FAILED if wrong else exits.OK


def _live(stage: Stage, *, keep: bool) -> list[str]:
    """Run everything from the start to the stop; return what was not as expected."""
    with progress() as tell:
        if stage.engine == DOCKER:
            image.ensure(tell)
        cluster = stage.prepare(tell)
    try:
        with progress() as tell:
            cluster.up(tell)
        wrong = _run(stage, cluster)
    except BaseException:
        _stop(cluster, timeout=10.0)
        raise
    if not keep:
        _stop(cluster)
    report.afterwards(stage.home, runs=keep)
    return wrong


def _stop(cluster: Cluster, timeout: float | None = None) -> None:
    """Stop everything; no further Ctrl-C keeps it from that."""
    known: Any = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        report.heading("Stopping what was started")
        with progress() as tell:
            cluster.down(tell, timeout)
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)


def _run(stage: Stage, cluster: Cluster) -> list[str]:
    """Submit, follow, read the result, and show it."""
    planned = plan(stage.run, stage.container)
    report.heading(f"{len(planned)} submissions to jobs.submit, run by the {stage.engine} engine")
    live = report.Live()
    settings = cluster.settings
    query = outcome.Query.of(settings.sink)
    try:
        with Campaign(settings, live.tell, live.wait) as campaign, IndexReader(settings) as reader:
            campaign.run(planned)
            documents = outcome.await_indexed(reader, campaign.facts)
            found = query.found(sum(one.expected is Status.COMPLETED for one in planned))
    except (DemoError, BrokerError, IndexUnavailableError) as error:
        raise DemoError(f"{error}{_where_to_look(cluster)}") from error
    report.show(planned, documents, query, found, stage.products)
    return outcome.deviations(planned, documents, found)


def _where_to_look(cluster: Cluster) -> str:
    """Return which process to suspect, and its log."""
    down = [one for one in cluster.processes() if not one.running]
    if down:
        return "; " + ", ".join(f"{one.name} does not run, its log is {one.log}" for one in down)
    return f"; all processes run, their logs are in {cluster.home / 'logs'}"


def _failed(error: Exception) -> int:
    known = explained(error)
    if isinstance(error, DemoError):
        say(f"demo: {error}")
        return exits.FAILED
    if known is None:
        raise error
    say(f"demo: {known}")
    return known.code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.demo", description="A small real campaign from end to end.")
    engines = (PROCESS, DOCKER)
    engine = os.environ.get("DEMO_ENGINE") or PROCESS
    parser.add_argument("--engine", choices=engines, default=engine, help="what runs the jobs (DEMO_ENGINE)")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    parser.add_argument("--home", type=Path, default=HOME, help=f"the demo's own folder, {HOME} by default")
    options = parser.parse_args(arguments)
    if options.engine not in engines:
        parser.error(f"DEMO_ENGINE={options.engine}: the demo runs with {' or '.join(engines)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
