"""What a failed acceptance test shows beside its traceback: the last lines that each agent wrote."""

from collections.abc import Iterator

import pytest

from tests.acceptance.support import Site

_LINES = 25


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, Site):
        for name in site.cluster.agent_names:
            report.sections.append((f"log of {name}", "\n".join(site.cluster.agent(name).tail(_LINES))))
    return report
