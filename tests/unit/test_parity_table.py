"""docs/hysds-parity.md names code and tests that there are."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
TABLE = PROJECT / "docs" / "hysds-parity.md"
#: A file's name, and after a colon parts of names of its tests, which a semicolon or the next file's name ends.
_FILE = re.compile(r"`(?:tests/)?((?:test_\w+|store_contract)\.py)`(?: \([a-z]+\))?(?:: ([a-z0-9_, ]+))?")
#: Said where a whole file is meant.
_WORDS = ("all",)


def rows() -> list[tuple[str, str, str]]:
    """Each row of the table: section, rule, tests."""
    found, section = [], ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("|") and not line.startswith(("| rule |", "| defect |", "| script |", "| knob |", "|---")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append((section, cells[0], cells[-1]))
    return found


def text_of(name: str) -> str:
    return "\n".join(path.read_text() for path in (PROJECT / "tests").rglob(name))


@pytest.mark.parametrize(("section", "rule", "tests"), rows())
def test_each_row_names_tests_that_there_are(section: str, rule: str, tests: str) -> None:
    for name, parts in _FILE.findall(tests):
        text = text_of(name)
        assert text, f"{section}, {rule}: no {name}"
        for part in (one.strip() for one in parts.split(",")):
            known = not part or part in _WORDS or re.search(rf"def test_\w*{part}", text)
            assert known, f"{section}, {rule}: no test of {name} has {part} in its name"
