"""What holds for one run of the command: the settings and the kind of output."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.settings import Settings


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


#: `-o` after a command; it wins over the one before.
Output = Annotated[Format | None, typer.Option("--output", "-o", help="How results are printed.", show_default=False)]


@dataclass(slots=True)
class Session:
    """The global options of this run."""

    output: Format = Format.TABLE


def json_wanted(ctx: typer.Context, output: Format | None) -> bool:
    """Say whether this command prints JSON."""
    session = ctx.find_object(Session) or Session()
    return (output or session.output) is Format.JSON


def settings() -> Settings:
    """Return the settings; imported here, since they take a quarter of a second."""
    # no plugin of pydantic is used, and looking for them takes a tenth of the start
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    from pipeline.settings import Settings

    return Settings()
