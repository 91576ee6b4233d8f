"""What a failed test of this suite shows is what an acceptance test shows."""

from tests.acceptance.conftest import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
