"""Schemas grow, and go on reading what they wrote before."""

import json
import shutil
from pathlib import Path

import fastavro
import pytest

from schemas import check


@pytest.mark.parametrize("name", check.names())
def test_a_schema_reads_its_published_versions_and_equals_the_newest(name: str) -> None:
    assert check.problems(name) == []


def _changed(tmp_path: Path, change) -> list[str]:
    shutil.copytree(check.FOLDER / "published", tmp_path / "published")
    schema = json.loads((check.FOLDER / "control.avsc").read_text())
    change(schema)
    (tmp_path / "control.avsc").write_text(json.dumps(schema))
    return check.problems("control", tmp_path)


def test_a_new_field_without_default_is_found(tmp_path: Path) -> None:
    found = _changed(tmp_path, lambda schema: schema["fields"].append({"name": "must", "type": "string"}))
    assert any("can't read 1.avsc" in one and "must" in one for one in found)


def test_a_changed_type_is_found(tmp_path: Path) -> None:
    found = _changed(tmp_path, lambda schema: schema["fields"][0].update(type="long"))
    assert any("can't read 1.avsc" in one for one in found)


def test_a_readable_change_must_still_be_published(tmp_path: Path) -> None:
    new = {"name": "more", "type": "string", "default": ""}
    found = _changed(tmp_path, lambda schema: schema["fields"].append(new))
    assert found == ["control differs from 1.avsc, its newest published version"]


@pytest.mark.parametrize("name", check.names())
def test_every_name_inside_a_schema_is_its_own(name: str) -> None:
    parsed = fastavro.parse_schema(json.loads((check.FOLDER / f"{name}.avsc").read_text()))
    assert all(one.startswith("jobstream.") for one in parsed["__named_schemas"])
