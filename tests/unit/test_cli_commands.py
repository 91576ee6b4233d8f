"""What the command line refuses, and what it says: no server is needed for any of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from pipeline import __version__

NOWHERE = {
    "JOBSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1",
    "JOBSTREAM_SINK__ELASTICSEARCH": "http://127.0.0.1:1",
    "JOBSTREAM_CONFIG": "/nonexistent.toml",
}


def commands() -> list[list[str]]:
    """Return every command and subcommand as the words that name it."""
    found = []
    for name, command in get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found += [[name]] + [[name, sub] for sub in inner or {}]
    return found


def run(*words: str, stdin: str | None = None, env: dict[str, str] | None = None):
    return CliRunner().invoke(app, list(words), input=stdin, env={**NOWHERE, **(env or {})})


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: list[str]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == exits.OK
    assert words == ["topics"] or f"jobstream {words[0]}" in result.stdout


def test_help_loads_neither_kafka_nor_the_settings() -> None:
    code = """
import sys
from ops.cli.main import app
heavy = {"confluent_kafka", "pydantic", "elasticsearch", "faust", "rich", "psutil", "fastavro"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout.strip() == f"jobstream {__version__}"


def test_the_payload_hash_does_not_depend_on_where_the_payload_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text(json.dumps({"a": [1, "é"], "b": 1, "_disk_usage": "1GB"}))
    golden = "a5c6e3de35db52b1e562903d8e73a580"
    assert run("hash", "--payload", str(file)).stdout.strip() == golden
    assert run("hash", "--payload", "-", stdin=file.read_text()).stdout.strip() == golden
    assert run("hash", "--param", "b=1", "--param", 'a=[1, "é"]').stdout.strip() == golden
    assert json.loads(run("hash", "--payload", str(file), "-o", "json").stdout) == {"payload_hash": golden}
    assert json.loads(run("-o", "json", "hash", "--payload", str(file)).stdout) == {"payload_hash": golden}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit", "job", "--param", "novalue"], "name=value"),
        (["submit", "job", "--payload", "/nonexistent.json"], "No such file"),
        (["hash"], "--payload FILE or --param"),
        (["submit", "job", "--retry", '{"oom": {}}'], "out-of-memory"),
        (["submit", "job", "--retry", "no"], "--retry"),
        (["list", "--status", "lost"], "job-completed"),
        (["queues", "declare", "Not A Queue"], "no queue name"),
        (["dead", "retry"], "IDs or --query"),
        (["dead", "retry", "0-1", "--query", "topic=submit"], "IDs or --query"),
        (["dead", "retry", "--query", "type=x"], "topic, reason, since"),
        (["dead", "list", "--since", "lately"], "30m, 2h, 3d"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code == exits.USAGE
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["submit"], ["submit", "job", "--priority", "12"], ["nonsense"]])
def test_words_that_no_command_takes_are_exit_code_2(words: list[str]) -> None:
    assert run(*words).exit_code == exits.USAGE


def test_a_payload_that_is_too_large_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    file.write_text(json.dumps({"a": "x" * 300_000}))
    result = run("submit", "job", "--payload", str(file))
    assert result.exit_code == exits.USAGE
    assert "256 KiB" in result.stderr


@pytest.mark.parametrize("text", ["[1, 2]", "{", "3"])
def test_a_payload_must_be_a_json_object(text: str) -> None:
    assert run("submit", "job", "--payload", "-", stdin=text).exit_code == exits.USAGE


def test_a_setting_that_is_wrong_is_named() -> None:
    result = run("list", env={"JOBSTREAM_SINK__BATCH": "0"})
    assert result.exit_code == exits.USAGE
    assert "sink.batch" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "job"],
        ["task", "submit", "echo"],
        ["events", "a-b"],
        ["revoke", "a-b"],
        ["queues"],
        ["workers"],
        ["dead", "list"],
    ],
)
def test_a_broker_that_is_away_is_one_line_and_exit_code_5(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == exits.UNREACHABLE
    assert "127.0.0.1:1" in result.stderr
    assert "jobstream up" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_index_that_is_away_is_exit_code_5() -> None:
    result = run("list")
    assert result.exit_code == exits.UNREACHABLE
    assert len(result.stderr.splitlines()) == 1


def test_status_of_nothing_lists_what_is_down_and_ends_with_1(tmp_path: Path) -> None:
    result = run("--home", str(tmp_path), "status", "-o", "json")
    assert result.exit_code == exits.FAILED
    assert not any(process["running"] for process in json.loads(result.stdout))
    assert "not running: kafka" in result.stderr
