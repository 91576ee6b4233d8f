"""What holds for each integration test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.integration.secured_kafka import SecuredKafka


@pytest.fixture(autouse=True)
def logs_on_stderr() -> Iterator[None]:
    """What an agent in the test's own process logs is no output of a command that runs there at the same time."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def secured_broker(servers_home: Path) -> Iterator[SecuredKafka]:
    """A broker with TLS, SCRAM and the standard authorizer, on which nobody has any right yet."""
    server = SecuredKafka(servers_home / "secured")
    server.start()
    yield server
    server.wipe()
