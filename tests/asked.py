"""What is asked beyond everyday tests: JOBSTREAM_TEST_ENGINES lists what must be there, JOBSTREAM_LONG=1 takes long."""

import os

import pytest

#: Whether tests may last for minutes.
LONG = os.environ.get("JOBSTREAM_LONG") == "1"


def asked_for(name: str) -> bool:
    """Say whether JOBSTREAM_TEST_ENGINES lists this name."""
    return name in os.environ.get("JOBSTREAM_TEST_ENGINES", "").split(",")


def only_where_asked_for(name: str) -> pytest.MarkDecorator:
    """Return the mark of tests of what takes long to bring: they run where it is listed, and are skipped elsewhere."""
    return pytest.mark.skipif(not asked_for(name), reason=f"JOBSTREAM_TEST_ENGINES doesn't list {name}")
