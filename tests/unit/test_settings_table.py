import pytest

from ops import settings_table
from pipeline.settings import Settings


def test_the_documented_settings_are_those_of_the_code() -> None:
    text = settings_table.DOCUMENT.read_text()
    assert settings_table.with_table(text) == text, "python -m ops.settings_table brings it up to date"


def test_every_setting_has_a_line_with_its_default_and_a_description() -> None:
    lines = settings_table.table().splitlines()[2:]
    counts = [len(getattr(field.annotation, "model_fields", [1])) for field in Settings.model_fields.values()]
    assert len(lines) == sum(counts)
    assert all(len([cell for cell in line.strip("|").split("|") if cell.strip()]) == 3 for line in lines)
    assert "| `JOBSTREAM_LEDGER__LEASE_MS` | `60000` | ms that a lease lives without a heartbeat |" in lines


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        settings_table.with_table("no marks here")
