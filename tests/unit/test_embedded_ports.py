"""Ports of embedded servers: one that was chosen is there again after a restart."""

import socket
from pathlib import Path

import pytest

from ops.embedded import ports
from ops.embedded.ports import LOOPBACK, free_port, is_free


def any_port() -> int:
    with socket.socket() as asking:
        asking.bind((LOOPBACK, 0))
        return int(asking.getsockname()[1])


def test_no_port_is_chosen_that_somebody_who_asks_for_any_may_get() -> None:
    given = {any_port() for _ in range(500)}
    chosen = {free_port() for _ in range(500)}
    assert len(chosen) > 400
    assert max(chosen) < min(given)
    assert all(map(is_free, chosen))


def test_a_port_that_is_listened_on_or_was_chosen_already_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, free_port()))
        listening.listen()
        busy = listening.getsockname()[1]
        monkeypatch.setattr(ports, "_FIRST", busy)
        monkeypatch.setattr(ports, "_dynamic", lambda: range(busy + 2, 65_536))
        assert {free_port() for _ in range(20)} == {busy + 1}
        assert free_port({busy + 1}) not in (busy, busy + 1)


@pytest.mark.parametrize("said", ["10000 65535", "1024 65535"])
def test_where_the_kernel_gives_every_port_it_is_asked(
    said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "range").write_text(said)
    monkeypatch.setattr(ports, "_ANY", tmp_path / "range")
    assert is_free(free_port())
