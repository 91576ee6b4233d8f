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


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the kernel says it gives: a host may be set to give nearly all ports, and then none is left to choose."""
    file = tmp_path / "range"
    file.write_text("20000\t60999\n")
    monkeypatch.setattr(ports, "_ANY", file)
    return file


def test_what_the_kernel_gives_to_whoever_asks_for_any_is_what_it_says() -> None:
    assert {any_port() for _ in range(500)} <= set(ports._dynamic())


@pytest.mark.usefixtures("said")
def test_no_port_is_chosen_that_somebody_who_asks_for_any_may_get() -> None:
    chosen = {free_port() for _ in range(500)}
    assert len(chosen) > 400
    assert chosen <= set(range(10_000, 20_000))
    assert all(map(is_free, chosen))


@pytest.mark.usefixtures("said")
def test_a_port_that_is_listened_on_or_was_chosen_already_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, free_port()))
        listening.listen()
        busy = listening.getsockname()[1]
        monkeypatch.setattr(ports, "_FIRST", busy)
        monkeypatch.setattr(ports, "_dynamic", lambda: range(busy + 2, 65_536))
        assert {free_port() for _ in range(20)} == {busy + 1}
        assert free_port({busy + 1}) not in (busy, busy + 1)


@pytest.mark.parametrize("every", ["10000 65535", "1024 65535"])
def test_where_the_kernel_gives_every_port_it_is_asked(every: str, said: Path) -> None:
    said.write_text(every)
    assert is_free(free_port())
