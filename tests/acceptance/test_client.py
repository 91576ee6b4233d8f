"""The Python client on a whole installation: it keeps the promises that it keeps on the bus for tests."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.client import errors
from ops.cluster import Plan
from pipeline import AsyncClient, Client
from pipeline.settings import KafkaSettings, Settings
from tests.acceptance.support import Site, site_at
from tests.client_contract import ClientContract

_NUMBERS = itertools.count()


class RealSite:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def client(self) -> Client:
        return Client(self.settings)

    def async_client(self) -> AsyncClient:
        return AsyncClient(self.settings)

    def does(self, text: str = "", code: int = 0, *, hangs: bool = False) -> dict[str, Any]:
        command = "sleep 300" if hangs else f"sh -c 'echo $1; exit $2' say $text {code}"
        return {"_command": command, "text": text, "number": next(_NUMBERS)}


@pytest.fixture(scope="module")
def whole(servers_home: Path) -> Iterator[Site]:
    with site_at(servers_home / "client", Plan(), {"worker": {"slots": 8, "kill_grace": 0.5}}) as site:
        yield site


@pytest.fixture
def site(whole: Site) -> RealSite:
    return RealSite(whole.settings)


class TestOnAnInstallation(ClientContract):
    pass


def test_a_client_finds_the_installation_as_the_command_line_does(
    whole: Site, site: RealSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBSTREAM_HOME", str(whole.home))
    with Client() as client:
        assert client.submit("say", site.does()).job().submission_id


def test_without_a_broker_it_says_what_to_do(site: RealSite) -> None:
    nowhere = site.settings.model_copy(update={"kafka": KafkaSettings(bootstrap="127.0.0.1:9")})
    with Client(nowhere) as client, pytest.raises(errors.UnreachableError, match=r"127.0.0.1:9 .* `jobstream up`"):
        client.submit("say", {})
