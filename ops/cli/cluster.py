"""`jobstream up`, `down` and `status`: the installation on this machine."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import ago, line, mib, print_json, table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from ops.cluster import Cluster


class Engine(StrEnum):
    """What runs the jobs."""

    PROCESS = "process"
    DOCKER = "docker"
    PODMAN = "podman"
    APPTAINER = "apptainer"
    SINGULARITY = "singularity"
    NOOP = "noop"


def up(
    workers: Annotated[int | None, typer.Option(min=0, max=64, help="Workers; those beyond it are stopped.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="What the workers run jobs with.")] = None,
    task_workers: Annotated[
        int | None, typer.Option(min=0, max=64, help="Task workers; those beyond it are stopped.")
    ] = None,
    no_elasticsearch: Annotated[
        bool, typer.Option("--no-elasticsearch", help="Neither Elasticsearch nor the sink: `list` then has nothing.")
    ] = False,
    no_kafka: Annotated[
        bool, typer.Option("--no-kafka", help="Use the brokers that the settings name, start none.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay, and start again what ends; Ctrl-C or SIGTERM is then `down`.")
    ] = False,
) -> None:
    """Start Kafka, Elasticsearch and the agents, and wait until they serve.

    They go on running when this ends, and nobody looks after them, unless it is to --keep them. What runs already
    stays; what isn't said is as the last `up` had it. Ports, heaps and the like are settings:
    JOBSTREAM_EMBEDDED__KAFKA_PORT=0 takes any free port, and keeps it.

    \b
    Examples:
      jobstream up
      jobstream up --workers 4 --engine docker
      jobstream up --task-workers 1
      jobstream --home /srv/second up
      jobstream up --keep
    """
    from dataclasses import replace

    from ops.cli.progress import progress
    from ops.cluster import Cluster, ClusterFile, Plan

    known = settings()
    plan = ClusterFile.read(known.home).plan or Plan.of(known)
    plan = replace(
        plan,
        kafka=plan.kafka and not no_kafka,
        elasticsearch=plan.elasticsearch and not no_elasticsearch,
        sink=plan.sink and not no_elasticsearch,
        workers=plan.workers if workers is None else workers,
        engine=plan.engine if engine is None else engine.value,
        task_workers=plan.task_workers if task_workers is None else task_workers,
    )
    cluster = Cluster(known, plan)
    with progress() as tell:
        cluster.up(tell)
    line(f"up: Kafka {cluster.settings.kafka.bootstrap}, {plan.workers} worker(s), data in {cluster.home}")
    if keep:
        _keep(cluster)


def _keep(cluster: "Cluster") -> None:
    import signal
    from threading import Event

    from ops.cli.progress import progress
    from ops.cluster import Keeper

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with progress() as tell:
        if not Keeper(cluster, tell).run(stop):
            line("somebody took it down")
            return
        cluster.down(tell)
    line(f"down: data stays in {cluster.home}")


def down(
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds each process gets; by default what its own stop may take.")
    ] = None,
) -> None:
    """Stop the agents, then the servers. Data stays; running jobs get the workers' grace.

    \b
    Examples:
      jobstream down
      jobstream down --timeout 5
    """
    from ops.cli.progress import progress
    from ops.cluster import Cluster

    cluster = Cluster(settings())
    with progress() as tell:
        cluster.down(tell, timeout)
    line(f"down: data stays in {cluster.home}")


def status(ctx: typer.Context, output: Output = None) -> None:
    """Show what runs; exit code 0 if all does, 1 if anything doesn't.

    \b
    Examples:
      jobstream status
      jobstream status -o json
    """
    from ops.cluster import Cluster

    cluster = Cluster(settings())
    processes = cluster.processes()
    if json_wanted(ctx, output):
        print_json(
            [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "running": one.running,
                    "pid": one.pid,
                    "address": one.address,
                    "memory_bytes": one.memory,
                    "since": one.since,
                    "log": str(one.log),
                }
                for one in processes
            ]
        )
    else:
        rows = [
            (
                one.name,
                "up" if one.running else "starting" if one.pid else "down",
                one.pid,
                one.address,
                mib(one.memory),
                ago(one.since * 1000) if one.since else "",
            )
            for one in processes
        ]
        table(("process", "state", "pid", "address", "memory", "up for"), rows)
    down_ = [one.name for one in processes if not one.running]
    if down_:
        raise CliError(f"not running: {', '.join(down_)}; `jobstream up` starts them", exits.FAILED)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, status):
        app.command()(command)
