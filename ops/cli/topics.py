"""`jobstream topics`: creating topics and looking at them."""

from collections import Counter

import typer

from ops.cli.output import line, listing, print_json
from ops.cli.session import Output, format_of, json_wanted, settings

topics = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Create the topics, and list them.\n\n\b\nExamples:\n  jobstream topics apply\n  jobstream topics list",
)


@topics.command("apply")
def apply_(ctx: typer.Context, output: Output = None) -> None:
    """Create the topics that are missing, and set what differs; nothing is ever deleted.

    \b
    Examples:
      jobstream topics apply
    """
    from agents.admin import apply

    done = apply(settings())
    if json_wanted(ctx, output):
        print_json(dict(done))
        return
    for name, state in done:
        if state != "unchanged":
            line(f"{name}  {state}")
    counts = Counter(state for _, state in done)
    line(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


@topics.command("list")
def list_(ctx: typer.Context, output: Output = None) -> None:
    """List the topics, as they should be and as they are.

    \b
    Examples:
      jobstream topics list
      jobstream topics list -o name
    """
    from agents.admin import describe

    states = describe(settings())
    records = [
        {
            "name": one.topic.name,
            "partitions": one.partitions,
            "wanted_partitions": one.topic.partitions,
            "compacted": one.topic.compacted,
            "retention_ms": one.topic.retention_ms,
            "schema": one.topic.schema,
            "key": one.topic.key,
            "written_by": one.topic.written_by,
            "differing": {name: {"is": is_, "wanted": wanted} for name, (is_, wanted) in one.differing.items()},
        }
        for one in states
    ]
    rows = [
        (
            one.topic.name,
            one.topic.partitions,
            "compacted" if one.topic.compacted else "",
            one.topic.key,
            one.topic.written_by,
            one.topic.schema,
            _state(one.partitions, one.misfit, list(one.differing)),
            one.topic.retention_ms,
            one.topic.max_bytes,
        )
        for one in states
    ]
    columns = ("topic", "partitions", "", "key", "written by", "schema", "state", "retention (ms)", "max (bytes)")
    listing(format_of(ctx, output), records, [one.topic.name for one in states], columns, rows, more=2)


def _state(partitions: int | None, misfit: bool, differing: list[str]) -> str:
    if partitions is None:
        return "missing"
    if misfit:
        return f"has {partitions} partitions"
    return f"differs: {', '.join(differing)}" if differing else "ok"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(topics, name="topics")
