"""docs/hysds-parity.md names code and tests that there are."""

import re
from pathlib import Path

import pytest

from pipeline.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent.parent
TABLE = PROJECT / "docs" / "hysds-parity.md"
#: A file's name, and after a colon parts of names of its tests, which a semicolon or the next file's name ends.
_FILE = re.compile(r"`(?:tests/)?((?:test_\w+|store_contract)\.py)`(?: \([a-z]+\))?(?:: ([a-z0-9_, ]+))?")
#: Said where a whole file is meant.
_WORDS = ("all",)


def rows() -> list[tuple[str, str, str, str]]:
    """Each row of the table: section, rule, code, tests."""
    found, section = [], ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("|") and not line.startswith(("| rule |", "| defect |", "| script |", "| knob |", "|---")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append((section, *cells))
    return found


def text_of(name: str) -> str:
    return "\n".join(path.read_text() for path in (PROJECT / "tests").rglob(name))


@pytest.fixture(scope="module")
def modules() -> set[str]:
    """The names of all modules, with and without the folders that they are in."""
    found = set()
    for folder in ("pipeline", "agents", "ops"):
        for path in (PROJECT / folder).rglob("*.py"):
            parts = path.relative_to(PROJECT).parts
            found.update("/".join(parts[start:]) for start in range(len(parts)))
    return found


def settings() -> set[str]:
    sections = {name: getattr(Settings(), name) for name in Settings.model_fields}
    return {f"{name}.{field}" for name, one in sections.items() for field in getattr(type(one), "model_fields", ())}


@pytest.mark.parametrize(("section", "rule", "code", "tests"), rows())
def test_each_row_names_code_and_tests_that_there_are(
    section: str, rule: str, code: str, tests: str, modules: set[str]
) -> None:
    absent = [name for name in re.findall(r"`([\w/]+\.py)`", code) if name not in modules]
    assert not absent, f"{section}, {rule}: no {', '.join(absent)}"
    for name, parts in _FILE.findall(tests):
        text = text_of(name)
        assert text, f"{section}, {rule}: no {name}"
        for part in (one.strip() for one in parts.split(",")):
            known = not part or part in _WORDS or re.search(rf"def test_\w*{part}", text)
            assert known, f"{section}, {rule}: no test of {name} has {part} in its name"


def test_each_setting_that_the_table_names_is_one() -> None:
    known = settings()
    sections = "|".join(sorted({name.partition(".")[0] for name in known}))
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", TABLE.read_text())) - {"job.context"}
    files = {name for name in named if name.endswith((".py", ".json", ".md"))}
    assert named - files - known == set()
    assert len(named & known) > 30
