"""The table of settings in docs/operations.md, made from `pipeline.settings`: `python -m ops.settings_table` writes it.

Between the two marks the file is ours; a unit test fails where it is behind the code.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.settings import Settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "operations.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"
#: What a default that is found out at run time is called.
_COMPUTED = {
    "JOBSTREAM_WORKER__ID": "the host's name",
    "JOBSTREAM_TASKS__ID": "the host's name",
    "JOBSTREAM_WORKER__SLOTS": "number of CPUs",
    "JOBSTREAM_EMBEDDED__CACHE": "`JOBSTREAM_CACHE`, else `~/.cache/jobstream`",
    "JOBSTREAM_KAFKA__CLIENT": "`{}`",
    "JOBSTREAM_WORKER__LABELS": "`{}`",
    "JOBSTREAM_GATE__RATES": "`{}`",
    "JOBSTREAM_WORKER__SECRETS": "`{}`",
    "JOBSTREAM_LEDGER__RETRIES": "`{}`",
}


def table() -> str:
    """Return the table in Markdown; raises KeyError for a computed default that has no description here."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {_default(name, field)} | {_cell(field.description or '')} |" for name, field in _fields()]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return the document with the table as it is now; raises ValueError where its marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for inner, one in kind.model_fields.items():
                yield f"JOBSTREAM_{name}__{inner}".upper(), one
        else:
            yield f"JOBSTREAM_{name}".upper(), field


def _default(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None or field.default is PydanticUndefined:
        return _COMPUTED[name]
    if field.default is None:
        return "none"
    value = field.default
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`" if value else "none"
    return f"`{value}`" if str(value) else "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
    sys.stdout.write(f"{DOCUMENT} is up to date\n")
