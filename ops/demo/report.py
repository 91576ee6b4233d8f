"""What the demo prints: facts as they come, and at the end what happened."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from ops.cli.output import line, table
from ops.demo.outcome import Document, Query, error_of
from ops.demo.submissions import Planned
from ops.reading.facts import document_of, status_of
from ops.submitting import is_final, original_of
from pipeline.messages.fact import Fact
from pipeline.statuses import Status


class Live:
    """Prints a line for each fact, with the seconds since the first submission."""

    def __init__(self) -> None:
        self._begun = monotonic()

    def tell(self, planned: Planned, fact: Fact) -> None:
        """Show a fact; that a job waits says nothing new."""
        status = status_of(fact)
        if status == Status.QUEUED:
            return
        original = original_of(fact)
        detail = f"duplicate of {original}" if original else error_of(document_of(fact)) if is_final(fact) else ""
        line(f"{monotonic() - self._begun:6.1f} s  {planned.label:<15}  {status:<13}  {detail}".rstrip())

    def wait(self, what: str) -> None:
        """Say what is still waited for."""
        line(f"{monotonic() - self._begun:6.1f} s  {what}")


def heading(text: str) -> None:
    """Print a line that stands out from what is above."""
    line("")
    line(text)


def show(
    planned: Sequence[Planned], documents: Mapping[str, Document], query: Query, found: Sequence[Document], store: Path
) -> None:
    """Print what became of everything: statuses, duplicates, errors, products, and how to find them."""
    counts = Counter(str(documents[one.id].get("status")) for one in planned)
    heading(f"Jobs by status ({len(planned)} submissions), read from Elasticsearch")
    table(("status", "jobs"), sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    _duplicates(planned, documents)
    heading("Errors")
    failed = [one for one in planned if documents[one.id].get("status") == Status.FAILED]
    table(("submission", "error"), [(one.label, error_of(documents[one.id])) for one in failed])
    _products(found, store)
    heading(f"The query that finds them, and found {len(found)} just now")
    line(query.command)


def afterwards(home: Path, *, runs: bool) -> None:
    """Print how to go on looking at it."""
    command = f"{shown(Path(sys.executable).parent)}/jobstream --home {shown(home)}"
    if runs:
        heading(f"It goes on running. To look at it: {command} status, … list, … --help; to stop it: … down")
    else:
        heading(f"The data stays until the next demo. To look at it again: {command} up, … list, then … down")


def _duplicates(planned: Sequence[Planned], documents: Mapping[str, Document]) -> None:
    heading("Duplicates")
    labels = {documents[one.id].get("job_id"): one.label for one in planned}
    rows = [
        (one.label, documents[one.id]["dedup_job"], labels.get(documents[one.id]["dedup_job"], "unknown"))
        for one in planned
        if documents[one.id].get("status") == Status.DEDUPED
    ]
    table(("submission", "original job", "which is"), rows)


def _products(found: Sequence[Document], store: Path) -> None:
    heading("Products, the steepest first")
    rows = [(one["id"], f"{_mean_slope(one):.1f}°", _box(one)) for one in found]
    table(("product", "mean slope", "west, south, east, north"), rows, "none")
    if found:
        # every product's folder is named after it
        example = Path(str(found[0]["urls"][0]).removeprefix("file://"))
        line(f"they lie in      {shown(example.parent)}/")
        line(f"browse images    {shown(store)}/**/*.browse.png")
        line(f"for instance     {shown(example)}/{example.name}.browse.png")


def _mean_slope(document: Document) -> float:
    return float((document.get("metadata") or {}).get("slope_mean", 0.0))


def _box(document: Document) -> str:
    ring: list[Any] = (document.get("location") or {}).get("coordinates", [[]])[0]
    west, south = (min(point[axis] for point in ring) for axis in (0, 1))
    east, north = (max(point[axis] for point in ring) for axis in (0, 1))
    return ", ".join(f"{edge:.4f}" for edge in (west, south, east, north))


def shown(path: Path) -> str:
    """Return a path as seen from the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
