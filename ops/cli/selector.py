"""`--query name=value,…`: what a command picks from many."""

from collections.abc import Iterable, Sequence

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.times import time_of


def selected(texts: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values by name; raises CliError for a name that isn't among `names`, or comes twice."""
    found: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not value or name not in names:
            raise CliError(f"--query {part!r}: name=value is needed, of {', '.join(names)}", exits.USAGE)
        if name in found:
            raise CliError(f"--query: {name} comes twice", exits.USAGE)
        found[name] = value
    return found


def moment_of(text: str) -> float:
    """Return a time in seconds since the epoch: 90s, 30m, 2h and 3d are so long ago, others ISO 8601, UTC by default.

    Raises CliError for anything else.
    """
    moment = time_of(text, "since")
    assert moment is not None, "only no text is no time"
    return moment / 1000
