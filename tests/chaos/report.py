"""The figures of a run, and the table *event × crash point → outcome* for docs/reliability.md."""

from collections import defaultdict
from pathlib import Path

from pipeline.crash_points import POINTS
from pipeline.statuses import REFUSED, Status
from tests.chaos.lanes import Died
from tests.chaos.run import Result

BEGIN, END = "<!-- chaos: made by `python -m tests.chaos --write` -->", "<!-- chaos: end -->"
_AGENTS = ("gate", "orchestrator", "scheduler", "worker", "sink")


def figures(result: Result) -> list[str]:
    """What a run was, in lines."""
    audit, counts = result.verdict.audit, result.counts
    died = [one for one in result.record.died if one.counts]
    planned = [one for one in died if one.point]
    by = {action: sum(one.action == action for one in died) for action in ("kill", "term")}
    return [
        f"seed {result.asked.seed}, {result.seconds:.0f} s: {len(died)} kills, of them {len(planned)} at crash points "
        f"({len({one.point for one in planned})} of {len(POINTS)} points) and {len(died) - len(planned)} at random; "
        f"{by['kill']} by SIGKILL, {by['term']} by SIGTERM",
        f"{result.cases} cases, {result.jobs} jobs, {audit.get('messages', 0)} inbox messages folded, "
        f"{result.facts} facts read, {result.repeated} of them repeats",
        f"completed {counts.get(Status.COMPLETED, 0)}, failed {counts.get(Status.FAILED, 0)}, "
        f"deduped {counts.get(Status.DEDUPED, 0)}, revoked {counts.get(Status.REVOKED, 0)}; "
        f"attempts lost {counts.get(Status.OFFLINE, 0)}, reports refused {counts.get(REFUSED, 0)}; "
        f"{result.verdict.dead} dead letters, {result.verdict.documents} documents equal",
        f"processes that ended by themselves: {len(result.record.by_themselves)}",
        "all is well" if not result.wrong else f"{len(result.wrong)} things are wrong",
    ]


def table(result: Result) -> str:
    """The Markdown table: a row for each crash point, a column for each event."""
    cells: dict[tuple[str, str], list[Died]] = defaultdict(list)
    for one in result.record.died:
        if one.counts:
            cells[one.point or f"at random: {_agent(one.victim)}", one.action].append(one)
    well = not result.wrong
    rows = [(point, f"`{point}`", told) for point, told in POINTS.items()]
    rows += [(f"at random: {agent}", f"at random: {agent}", "anything") for agent in _AGENTS]
    lines = ["| crash point | how things stand there | SIGKILL | SIGTERM |", "|---|---|---|---|"]
    for key, name, told in rows:
        kill, term = (_cell(cells[key, action], well) for action in ("kill", "term"))
        lines.append(f"| {name} | {told} | {kill} | {term} |")
    return "\n".join(lines)


def _cell(died: list[Died], well: bool) -> str:
    if not died:
        return "–"
    wrong = [one.wrong.splitlines()[0] for one in died if one.wrong]
    if wrong:
        return "; ".join(wrong)
    return f"{len(died)} ×, {'well' if well else 'see above'}"


def _agent(victim: str) -> str:
    return victim.partition("-")[0]


def write(result: Result, file: Path, date: str) -> None:
    """Put figures and table between the marks of a file, which must be there."""
    text = file.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    if not rest or (not after and END not in rest):
        raise ValueError(f"{file}: no marks {BEGIN} … {END}")
    _ = old
    told = "\n".join(f"- {line}" for line in figures(result))
    file.write_text(f"{before}{BEGIN}\nThe run of {date}:\n\n{told}\n\n{table(result)}\n{END}{after}")
