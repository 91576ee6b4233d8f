"""What holds for each integration test."""

import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logs_on_stderr() -> Iterator[None]:
    """What an agent in the test's own process logs is no output of a command that runs there at the same time."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()
