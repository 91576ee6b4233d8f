"""`jobstream schemas`: the schema registry's subjects, and whether schemas read what was written."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import is_terminal, line, print_json, table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from ops.subjects import Subject

schemas = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Register the schemas in a schema registry, and check them.",
    epilog="Example: jobstream schemas check",
)


@schemas.command("register")
def register_(ctx: typer.Context, output: Output = None) -> None:
    """Have the registry know every schema, under its topic's subject; a repeat changes nothing.

    The registry refuses from then on what can't read what was written (BACKWARD, if the subject's rule asks for less).

    \b
    Examples:
      jobstream schemas register
    """
    from ops.subjects import UNCHANGED, NoRegistryError, RefusedSchemaError, register, registry_of

    known = settings()
    try:
        registry = registry_of(known)
        with _progress() as tell:
            done = list(register(known, registry, tell))
    except NoRegistryError as error:
        raise CliError(str(error), exits.USAGE) from error
    except RefusedSchemaError as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise _unreachable(error) from error
    if json_wanted(ctx, output):
        print_json(dict(done))
        return
    for subject, state in done:
        if state != UNCHANGED:
            line(f"{subject}  {state}")
    counts = Counter(state for _, state in done)
    line(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


@schemas.command("check")
def check_(
    ctx: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no registry.")] = False,
    output: Output = None,
) -> None:
    """Check that each schema reads what all its published versions wrote, and that the registry has it.

    Exit code 1 where a schema can't, or a subject lacks the newest one, would refuse it, or has a rule below BACKWARD.

    \b
    Examples:
      jobstream schemas check
      jobstream schemas check --offline
    """
    from schemas.check import names, problems

    found = [problem for name in names() for problem in problems(name)]
    subjects = [] if offline else _subjects()
    if json_wanted(ctx, output):
        print_json({"problems": found, "subjects": [_row(one) for one in subjects]})
    else:
        line(
            "\n".join(found) if found else f"{len(names())} schemas read all that their published versions wrote",
            clean=False,
        )
        if subjects:
            rows = [(one.name, one.schema, one.version, one.rule, _state(one)) for one in subjects]
            table(("subject", "schema", "version", "rule", "state"), rows)
    if any(not one.well for one in subjects):
        say("jobstream: `jobstream schemas register` registers what is missing, and sets the rule")
    if found or any(not one.well for one in subjects):
        raise typer.Exit(exits.FAILED)


def _subjects() -> "list[Subject]":
    from ops.subjects import check, registry_of

    known = settings()
    if known.kafka.registry_url is None:
        say("jobstream: no schema registry is configured (JOBSTREAM_KAFKA__REGISTRY_URL): none was asked")
        return []
    try:
        with _progress() as tell:
            return list(check(known, registry_of(known), tell))
    except OSError as error:
        raise _unreachable(error) from error


def _unreachable(error: OSError) -> CliError:
    return CliError(f"{error}: does JOBSTREAM_KAFKA__REGISTRY_URL name it, and does it run?", exits.UNREACHABLE)


def _state(subject: "Subject") -> str:
    return f"{subject.state}: {'; '.join(subject.why)}" if subject.why else subject.state


def _row(subject: "Subject") -> dict[str, object]:
    return {
        "subject": subject.name,
        "schema": subject.schema,
        "version": subject.version,
        "rule": subject.rule,
        "state": subject.state,
        "why": subject.why,
    }


@contextmanager
def _progress() -> "Iterator[Callable[[str, int, int], None]]":
    """Yield what is told how far it is; shown in a terminal alone, since the results follow."""
    if not is_terminal():
        yield lambda subject, done, total: None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("") as spinner:
        yield lambda subject, done, total: spinner.update(f"{subject}  {done + 1} of {total}")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(schemas, name="schemas")
