"""Rules for retries: which failures are tried again, how often, and after how long. They are data, JSON objects.

A rule is named by the category of a failure, or `exit:SET` for a command that ended with one of these codes. The
installation has rules (`ledger.retries`), and so may a job type, a job creator and a submission: decision 022.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

#: The category of an attempt whose worker lost its lease or handed it back after the start.
WORKER_LOST = "worker-lost"
OUT_OF_MEMORY = "out-of-memory"
COMMAND_FAILED = "command-failed"
#: Stands for the two limits that a worker heeds, where they have no rules of their own, and is the ledger's own limit.
TIME_LIMIT = "time-limit"
#: What a rule may be for. Other failures are the submission's own, or an operator's will: trying again cures none.
CATEGORIES = (
    WORKER_LOST,
    OUT_OF_MEMORY,
    TIME_LIMIT,
    "soft-time-limit",
    "hard-time-limit",
    COMMAND_FAILED,
    "image",
    "localize",
    "publish",
    "processor",
    "work-directory",
    "worker",
    "cannot-run",
)
_EXIT = "exit:"
_CODES = re.compile(r"\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*", re.ASCII)
_LONGEST_NAME = 60
#: Rules that an object holds at most.
_MOST = 40
#: Attempts, ms and factor that any rule may have at most.
ATTEMPTS, BACKOFF_MS, FACTOR = 100, 7 * 86_400_000, 16
_WHOLE = {"attempts": (1, ATTEMPTS), "backoff_ms": (0, BACKOFF_MS), "backoff_max_ms": (0, BACKOFF_MS)}

#: Rules by name; False: nothing is tried again by itself.
Rules = Mapping[str, Mapping[str, Any]] | Literal[False]


def exit_codes(name: str) -> frozenset[int] | None:
    """Return the codes that a rule's name lists, None where it names a category; raises ValueError for no codes.

    >>> sorted(exit_codes("exit:75,70-72") or ())
    [70, 71, 72, 75]
    """
    if not name.startswith(_EXIT):
        return None
    text = name.removeprefix(_EXIT)
    if len(name) > _LONGEST_NAME or not _CODES.fullmatch(text):
        raise ValueError(f"{name[:_LONGEST_NAME]!r}: exit codes are written like exit:75, exit:70-79 or exit:3,70-79")
    codes: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= 255:
            raise ValueError(f"{name!r}: {part} is no exit code from 1 to 255, or no range of them")
        codes.update(range(low, high + 1))
    return frozenset(codes)


def checked(rules: Any) -> Rules:
    """Return rules as they are; raises ValueError with the place of what is wrong with them."""
    if rules is False:
        return False
    if not isinstance(rules, Mapping):
        raise ValueError("rules by category are needed, or false")
    if len(rules) > _MOST:
        raise ValueError(f"{len(rules)} rules, at most {_MOST} are taken")
    for name, rule in rules.items():
        if not isinstance(name, str) or (exit_codes(name) is None and name not in CATEGORIES):
            raise ValueError(f"{str(name)[:_LONGEST_NAME]!r} is no category: exit:CODES, {', '.join(CATEGORIES)}")
        if not isinstance(rule, Mapping):
            raise ValueError(f"{name}: an object is needed")
        for field, value in rule.items():
            if (problem := _problem(field, value)) is not None:
                raise ValueError(f"{name}.{str(field)[:_LONGEST_NAME]}: {problem}")
    return {name: dict(rule) for name, rule in rules.items()}


def _problem(field: Any, value: Any) -> str | None:
    if field in _WHOLE:
        low, high = _WHOLE[field]
        whole = isinstance(value, int) and not isinstance(value, bool)
        return None if whole and low <= value <= high else f"a whole number from {low} to {high} is needed"
    if field == "avoid":
        return None if isinstance(value, bool) else "true or false is needed"
    if field == "memory_factor":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and 1 <= value <= FACTOR else f"a number from 1 to {FACTOR} is needed"
    return f"no such field; there are {', '.join((*_WHOLE, 'avoid', 'memory_factor'))}"


def merged(*layers: Rules | None) -> Rules | None:
    """Return the rules of several layers, later ones over earlier ones field by field; False of any of them stays."""
    known = [layer for layer in layers if layer is not None]
    if any(layer is False for layer in known):
        return False
    made: dict[str, dict[str, Any]] = {}
    for layer in known:
        for name, rule in (layer or {}).items():
            made[name] = {**made.get(name, {}), **rule}
    return made if known else None


def names_for(rules: Mapping[str, Any], category: str, exit_code: int | None) -> Iterator[str]:
    """Yield the names of the rules that a failure falls under, the most particular first.

    That is the smallest set of exit codes, then the category, then the time limit for each kind of it.
    """
    if category == COMMAND_FAILED and exit_code is not None:
        sets = [(len(codes), name) for name in rules if exit_code in (codes := _codes(name))]
        yield from (name for _, name in sorted(sets))
    for name in (category, TIME_LIMIT if category.endswith(f"-{TIME_LIMIT}") else None):
        if name is not None and name in rules:
            yield name


def _codes(name: str) -> frozenset[int]:
    try:
        return exit_codes(name) or frozenset()
    except ValueError:
        # from a log that an operator's own program wrote: such a rule is for nothing
        return frozenset()
