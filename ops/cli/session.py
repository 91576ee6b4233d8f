"""What holds for one run of the command: the settings and the kind of output."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError

if TYPE_CHECKING:
    from pipeline.settings import Settings


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    #: With more columns.
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    #: What names each thing alone: what other commands take.
    NAME = "name"


#: `-o` after a command; it wins over the one before.
Output = Annotated[Format | None, typer.Option("--output", "-o", help="How results are printed.", show_default=False)]


@dataclass(slots=True)
class Session:
    """The global options of this run; `output` is in the end what holds for its command."""

    output: Format = Format.TABLE


_current = Session()


def begin(output: Format) -> Session:
    """Return the session of a run that begins with these options."""
    _current.output = output
    return _current


def current() -> Session:
    """Return the session of this run; printing asks it, far from any command."""
    return _current


def format_of(ctx: typer.Context, output: Format | None) -> Format:
    """Return how this command prints what it lists."""
    session = ctx.find_object(Session) or _current
    session.output = output or session.output
    return session.output


def json_wanted(ctx: typer.Context, output: Format | None) -> bool:
    """Say whether this command prints whole values, as JSON or YAML; one that lists nothing has no names to print."""
    wanted = format_of(ctx, output)
    if wanted is Format.NAME:
        raise CliError("-o name goes with commands that list or get", exits.USAGE)
    return wanted in (Format.JSON, Format.YAML)


def settings() -> Settings:
    """Return the settings; imported here, since they take a quarter of a second."""
    # no plugin of pydantic is used, and looking for them takes a tenth of the start
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    from pipeline.settings import Settings

    return Settings()
