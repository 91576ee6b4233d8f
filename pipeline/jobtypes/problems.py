"""What is wrong with a document, said so that whoever wrote it can mend it."""

from collections.abc import Iterable
from dataclasses import dataclass

#: Problems that one text names at most.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: in which document, at which JSON path, what stands there, what should."""

    document: str
    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.document}: {self.path}: found {self.found}, expected {self.expected}"

    def record(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return {"document": self.document, "path": self.path, "found": self.found, "expected": self.expected}


class InvalidError(ValueError):
    """A document can't be used; `problems` are all that were found, in the order of the document."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - _SHOWN
        named = [str(problem) for problem in self.problems[:_SHOWN]]
        super().__init__("; ".join([*named, f"and {more} more"] if more > 0 else named))


def kind(value: object) -> str:
    """Return what a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"
