"""Tests of what takes long to bring: they run where JOBSTREAM_TEST_ENGINES lists it, and are skipped elsewhere."""

import os

import pytest


def only_where_asked_for(name: str) -> pytest.MarkDecorator:
    """Return the mark of tests that run where the variable lists this name."""
    asked = os.environ.get("JOBSTREAM_TEST_ENGINES", "").split(",")
    return pytest.mark.skipif(name not in asked, reason=f"JOBSTREAM_TEST_ENGINES doesn't list {name}")
