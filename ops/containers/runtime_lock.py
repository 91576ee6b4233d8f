"""Prints the part of requirements.lock that an installation needs, without what only tests and the demo need.

usage: runtime_lock.py PYPROJECT LOCK [PACKAGE...]

Reads the lock alone: each of its entries says by whom it is needed. PACKAGE are further ones to keep, with all that
they need. Standard library only, since it runs before anything is installed.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

_ENTRY = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.IGNORECASE)
_NEEDED_BY = re.compile(r"^\s+#\s+(?:via\s+)?([a-z0-9][a-z0-9._-]*)\s*$", re.IGNORECASE)


def normal(name: str) -> str:
    """Return a package's name in its one normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Yield (name, text, names of those that need it) of each entry of a lock file by pip-compile."""
    text: list[str] = []
    for line in [*lock.splitlines(), "end==0"]:
        if _ENTRY.match(line) and text:
            yield _entry(text)
            text = []
        if text or _ENTRY.match(line):
            text.append(line)


def _entry(lines: list[str]) -> tuple[str, str, set[str]]:
    found = _ENTRY.match(lines[0])
    name = normal(found.group(1)) if found else ""
    parents = {normal(match.group(1)) for line in lines if (match := _NEEDED_BY.match(line))}
    return name, "\n".join(line for line in lines if not line.lstrip().startswith("#")), parents


def closure(lock: str, roots: Iterable[str]) -> dict[str, str]:
    """Return name and text of the entries of `roots` and of all that those need; KeyError for a root not locked."""
    known = {name: (text, parents) for name, text, parents in entries(lock)}
    needed = {normal(name) for name in roots}
    if missing := needed - known.keys():
        raise KeyError(f"not in the lock: {', '.join(sorted(missing))}")
    while more := {name for name, (_, parents) in known.items() if parents & needed} - needed:
        needed |= more
    return {name: known[name][0] for name in sorted(needed)}


def dependencies(pyproject: str) -> list[str]:
    """Return the names of the project's own dependencies, without extras and versions."""
    wanted = tomllib.loads(pyproject)["project"]["dependencies"]
    return [re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0] for one in wanted]


def main(arguments: list[str]) -> int:
    """Print the lock's part; return the exit code."""
    if len(arguments) < 2:
        sys.stderr.write("usage: runtime_lock.py PYPROJECT LOCK [PACKAGE...]\n")
        return 2
    pyproject, lock = (Path(one).read_text(encoding="utf-8") for one in arguments[:2])
    kept = closure(lock, [*dependencies(pyproject), *arguments[2:]])
    sys.stdout.write("\n".join(kept.values()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
