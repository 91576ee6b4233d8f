"""`jobstream acls`: who may do what on the brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import line, print_json, table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.rights import Right
    from pipeline.settings import Settings

acls = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Who may do what on a secured cluster: `jobstream acls print`."
)

Principal = Annotated[
    list[str] | None,
    typer.Option(
        "--principal",
        help="ROLE=NAME, the brokers' name of a role: worker=User:w1, producer.alice=User:CN=alice. A role may have "
        "several, and none: ROLE=. By default User:ROLE, and User:NAME of each of topics.principals.",
        show_default=False,
    ),
]


@acls.command("print")
def print_(ctx: typer.Context, principal: Principal = None, output: Output = None) -> None:
    """Print each role's rights, without asking any broker.

    \b
    Examples:
      jobstream acls print
      jobstream acls print --principal worker=User:worker-1 --principal worker=User:worker-2 -o json
    """
    rights = _rights(settings(), principal or [])
    rows = [
        (who, right.operation.value, right.resource.value, right.name, "prefixed" if right.prefixed else "literal")
        for who, theirs in rights.items()
        for right in theirs
    ]
    if json_wanted(ctx, output):
        names = ("principal", "operation", "resource", "name", "pattern")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    table(("principal", "operation", "", "name", ""), rows)


@acls.command("apply")
def apply_(
    ctx: typer.Context,
    principal: Principal = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Take away what these have beyond the table, of our topics and groups."),
    ] = False,
    output: Output = None,
) -> None:
    """Give each role the rights that it lacks; repeating it changes nothing.

    Needs a super user of the brokers, or the right to alter the cluster.

    \b
    Examples:
      jobstream acls apply --dry-run
      jobstream acls apply --principal sink=User:indexer --prune
    """
    from agents.acls import compare, create, grants, remove, shown

    known = settings()
    found = compare(known, grants(_rights(known, principal or [])))
    gone = found.beyond if prune else []
    if not dry_run:
        create(known, found.missing)
        remove(known, gone)
    given, taken = [shown(one.binding()) for one in found.missing], [shown(one) for one in gone]
    denied = [shown(one) for one in found.denied]
    if json_wanted(ctx, output):
        told = {"given": given, "taken": taken, "present": len(found.present), "beyond": len(found.beyond) - len(gone)}
        elsewhere = [shown(one) for one in found.elsewhere]
        print_json({**told, "denied": denied, "elsewhere": elsewhere, "dry_run": dry_run})
        return
    for sign, texts in (("+", given), ("-", taken), ("!", denied)):
        for text in texts:
            line(f"{sign} {text}")
    would = "would be " if dry_run else ""
    kept = f", {len(found.beyond) - len(gone)} beyond the table (--prune)" if len(found.beyond) > len(gone) else ""
    line(f"{len(given)} {would}given, {len(taken)} {would}taken away, {len(found.present)} there already{kept}")
    if denied:
        line(f"{len(denied)} denied by an operator (!): stays")
    if found.elsewhere:
        line(f"{len(found.elsewhere)} about other names than this installation's, which stay (-o json shows them)")


def _rights(known: Settings, given: Sequence[str]) -> Mapping[str, list[Right]]:
    """Return the rights of each principal; CliError for an option that names no role."""
    from pipeline.rights import Role, rights_of

    topology, group = known.topology, known.sink.group
    names: dict[str, list[str]] = {role.value: [f"User:{role}"] for role in Role}
    names |= {f"{Role.PRODUCER}.{one}": [f"User:{one}"] for one in topology.principals}
    named: dict[str, list[str]] = {}
    for option in given:
        role, equals, name = option.partition("=")
        if role not in names or not equals or (name and ":" not in name):
            raise CliError(f"--principal {option}: ROLE=User:NAME, where ROLE is of {', '.join(names)}", exits.USAGE)
        named.setdefault(role, []).extend([name] if name else [])
    rights: dict[str, set[Right]] = {}
    for role, theirs in (names | named).items():
        kind, _, principal = role.partition(".")
        for name in theirs:
            found = rights_of(Role(kind), topology, group, principal or None, sealing=known.security.sealing)
            rights.setdefault(name, set()).update(found)
    return {name: sorted(theirs) for name, theirs in rights.items()}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(acls, name="acls")
