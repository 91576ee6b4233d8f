"""`jobstream`: the commands, and the options before them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ops.cli import (
    acls,
    agents,
    audit,
    cluster,
    control,
    dead,
    ingest,
    job,
    jobs,
    ledger,
    logs,
    queues,
    replay,
    retry,
    run,
    schemas,
    submit,
    tasks,
    topics,
    watch,
    why,
    workers,
)
from ops.cli.errors import Commands
from ops.cli.session import Format, begin

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # plain help starts in half the time, and reads the same in a pipe
    rich_markup_mode=None,
    help="Containerised jobs over Kafka: submit them, watch them, and run what runs them.",
    epilog="Settings: JOBSTREAM_… variables, jobstream.toml, and what `jobstream up` wrote into HOME/cluster.toml.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline import __version__

        typer.echo(f"jobstream {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Data of the installation.", envvar="JOBSTREAM_HOME", show_default=".jobstream")
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How results are printed.")] = Format.TABLE,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that hold for every command."""
    if home is not None:
        os.environ["JOBSTREAM_HOME"] = str(home)
    ctx.obj = begin(output)


for _noun in (
    cluster,
    submit,
    run,
    job,
    watch,
    logs,
    control,
    retry,
    dead,
    why,
    replay,
    audit,
    ledger,
    jobs,
    tasks,
    topics,
    schemas,
    acls,
    queues,
    workers,
    agents,
    ingest,
):
    _noun.add_to(app)


def main() -> None:
    """Run the command line; the exit codes are those of `ops.cli.exits`."""
    app(prog_name="jobstream")


if __name__ == "__main__":
    main()
