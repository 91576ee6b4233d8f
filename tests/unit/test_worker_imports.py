"""What a worker doesn't need, it doesn't load."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("fsspec", "aiohttp", "s3fs", "botocore", "gcsfs", "adlfs", "paramiko")


@pytest.mark.parametrize(
    ("module", "absent"), [("agents.worker.main", (*HEAVY, "pipeline.inputs")), ("agents.worker.engine_work", HEAVY)]
)
def test_backends_of_inputs_are_loaded_by_the_first_input_that_needs_them(module: str, absent: tuple[str, ...]) -> None:
    assert loaded(module, absent) == []


@pytest.mark.parametrize("module", ["agents.worker.main", "agents.orchestrator.outputs"])
def test_what_seals_grants_is_loaded_where_they_are_sealed_alone(module: str) -> None:
    assert loaded(module, ("cryptography",)) == []


def loaded(module: str, names: tuple[str, ...]) -> list[str]:
    script = f"import sys, {module}; print(*(set({names!r}) & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    return said.stdout.split()
