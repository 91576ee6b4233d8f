"""`jobstream audit`: whether what must hold of the log holds."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import say
from ops.cli.output import line, moment, print_json, table
from ops.cli.session import Output, json_wanted, settings
from ops.cli.times import TIME, time_of

if TYPE_CHECKING:
    from pipeline.audit.finding import Findings


def audit(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help=f"Read only what came from then on. {TIME}")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Read only what came before.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Violations, and open jobs, that are shown.")] = 20,
    output: Output = None,
) -> None:
    """Read the whole log and check what must hold of it: nothing is lost, nothing runs twice, nothing is contradicted.

    Exit code 1 if something doesn't hold. What lies before the log's beginning, or before --from, is counted as not
    judged. It disturbs nobody and needs Kafka alone; what it has seen is kept below TMPDIR for as long as it runs.

    \b
    Examples:
      jobstream audit
      jobstream audit --from 1d -o json
    """
    from ops.cli.reading_progress import reading
    from ops.replaying.auditing import audit as found_by

    with reading() as tell:
        findings = found_by(settings(), time_of(since, "--from"), time_of(until, "--to"), tell)
    if json_wanted(ctx, output):
        print_json(_record(findings))
    else:
        _show(findings, limit)
    if findings.violated:
        raise typer.Exit(exits.FAILED)


def _record(findings: "Findings") -> dict[str, Any]:
    from pipeline.audit.finding import Check

    return {
        "holds": not findings.violated,
        "messages": findings.messages,
        "facts": findings.facts,
        "repeats": findings.repeats,
        "jobs": findings.jobs,
        "checks": {
            check.short: {"means": str(check), "judged": findings.judged[check], "violated": findings.violated[check]}
            for check in Check
        },
        "not_judged": dict(findings.unjudged),
        "violations": [one.record() for one in findings.violations],
        "open": {"count": findings.open_count, "jobs": [one.record() for one in findings.open]},
    }


def _show(findings: "Findings", limit: int) -> None:
    from pipeline.audit.finding import Check

    rows = [(str(check), findings.judged[check], findings.violated[check]) for check in Check]
    table(("what must hold", "judged", "violated"), rows)
    line(
        f"{findings.messages:,} messages, {findings.facts:,} facts ({findings.repeats:,} repeats), "
        f"{findings.jobs:,} jobs, {findings.open_count:,} of them open"
    )
    for why, count in sorted(findings.unjudged.items()):
        line(f"not judged: {count:,}: {why}")
    if findings.violations and limit:
        line("")
        violations = findings.violations[:limit]
        told = [(one.check.short, one.job_id, f"{one.partition}/{one.offset}", one.detail) for one in violations]
        table(("violated", "job", "at", "what"), told)
    if findings.open and limit:
        line("")
        found = findings.open[:limit]
        table(
            ("open job", "status", "attempt", "since"),
            [(one.job_id, one.status, one.attempt, moment(one.since)) for one in found],
        )
    more = max(0, sum(findings.violated.values()) - limit), max(0, findings.open_count - limit)
    if any(more):
        say(f"jobstream: not shown: {more[0]:,} violations, {more[1]:,} open jobs (--limit; -o json has 1,000 of each)")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)
