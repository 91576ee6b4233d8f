"""`jobstream ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import print_json, table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from pipeline.datasets.ingest import Ingest, Planned
    from pipeline.datasets.marker import Marker
    from pipeline.datasets.store import Store
    from pipeline.settings import Settings


def ingest(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset's directory, or one that holds some.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be published where; write nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace datasets that are published there already.")] = False,
    datasets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Recognition rules; by default the worker's datasets.json.")
    ] = None,
    output: Output = None,
) -> None:
    """Publish the datasets of a directory: files, index documents and events, of all of them or of none.

    Exit code 2: a dataset or a rule is wrong; 1: a place is taken; 5: store, index or brokers can't be reached. After
    each of these nothing was published, and what was replaced is back. Killed, it leaves what the next run removes.

    \b
    Examples:
      jobstream ingest products/ --dry-run
      jobstream ingest products/S1-GRD-2024-03-01 --force
    """
    from pipeline.datasets.errors import Collision, DatasetError, StoreBusy, StoreUnavailable

    made = settings()
    try:
        plan = _plan(made, directory, datasets)
        for note in plan.notes:
            say(note)
        if dry_run:
            _show(ctx, plan, made, output)
        else:
            _publish(ctx, plan, made, force, output)
    except DatasetError as error:
        said = "; ".join([str(error), *getattr(error, "__notes__", ())])
        if isinstance(error, Collision):
            raise CliError(f"{said}: --force replaces what was published", exits.FAILED) from error
        passing = isinstance(error, StoreUnavailable | StoreBusy)
        raise CliError(said, exits.UNREACHABLE if passing else exits.USAGE) from error


def _plan(made: Settings, directory: Path, datasets: Path | None) -> Ingest:
    from ops.ingesting import planned

    rules = datasets or made.worker.datasets_file
    if rules is None:
        raise CliError("no recognition rules: --datasets FILE or JOBSTREAM_WORKER__DATASETS_FILE", exits.USAGE)
    return planned(made, directory, rules)


def _publish(ctx: typer.Context, plan: Ingest, made: Settings, force: bool, output: Output) -> None:
    from agents.dataset_index import IndexRefusedError
    from ops.ingesting import ingest as publish

    try:
        published = publish(made, plan, force=force)
    except IndexRefusedError as error:
        raise CliError(f"the index refuses {error}", exits.USAGE) from error
    if json_wanted(ctx, output):
        print_json(published.products_staged)
        return
    rows = [
        (one["id"], one["dataset"], one["system_version"], one["disk_usage"], one["index"], (one["urls"] or [""])[0])
        for one in published.products_staged
    ]
    table(("id", "dataset", "version", "bytes", "index", "url"), rows)


def _show(ctx: typer.Context, plan: Ingest, made: Settings, output: Output) -> None:
    from ops.ingesting import store_to_look_at

    store = store_to_look_at(made)
    taken = plan.taken(store) if store is not None else {}
    if json_wanted(ctx, output):
        print_json([_described(one, store, taken) for one in plan.products])
        return
    rows = []
    for one in plan.products:
        told = _described(one, store, taken)
        place = (told["locations"] or [""])[0]
        owner = ", ".join(told["taken_by"])
        rows.append((one.id, told["dataset"], told["version"], one.size, one.index, place, owner))
    table(("id", "dataset", "version", "bytes", "index", "location", "taken by"), rows)


def _described(one: Planned, store: Store | None, taken: dict[str, Marker]) -> dict[str, Any]:
    return {
        "id": one.id,
        "dataset": one.recognition.rule.dataset,
        "version": one.recognition.version,
        "index": one.index,
        "files": one.files,
        "bytes": one.size,
        "locations": [store.url(place) if store else place for place in one.locations],
        "taken_by": [taken[place].job_id for place in one.locations if place in taken],
    }


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ingest)
