"""Logging: one line an event, whoever logs, and no secrets in it."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from agents.logging import configure
from pipeline.settings import Settings


@pytest.fixture
def out(tmp_path: Path) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    out = io.StringIO()
    configure(Settings(home=tmp_path), "sink", out)
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_our_lines_and_those_of_libraries_look_the_same(out: io.StringIO) -> None:
    structlog.stdlib.get_logger("ours").info("happened", number=1)
    logging.getLogger("theirs").warning("happened to %s", "them")
    ours, theirs = lines(out)
    assert (ours["event"], ours["number"], ours["level"], ours["agent"]) == ("happened", 1, "info", "sink")
    assert (theirs["event"], theirs["level"], theirs["agent"]) == ("happened to them", "warning", "sink")
    assert ours["time"].endswith("Z")


def test_chatty_libraries_are_quiet_below_warning(out: io.StringIO) -> None:
    for name in ("faust.app", "aiokafka.consumer", "elastic_transport.node"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("faust.app").warning("trouble")
    assert [line["event"] for line in lines(out)] == ["trouble"]


def test_secrets_are_hidden_by_name_and_in_addresses(out: io.StringIO) -> None:
    log = structlog.stdlib.get_logger("ours")
    log.info("at http://user:hunter2@host/x", token="hunter2", kafka={"sasl.password": "hunter2", "bootstrap": "b"})
    try:
        raise ValueError("http://user:hunter2@host")
    except ValueError:
        log.exception("failed")
    assert "hunter2" not in out.getvalue()
    assert lines(out)[0]["kafka"] == {"sasl.password": "***", "bootstrap": "b"}
    assert "ValueError" in lines(out)[1]["exception"]
