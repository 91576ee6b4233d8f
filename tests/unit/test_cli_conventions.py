"""What holds for every command: examples that can be typed, formats, completion, and how many are picked."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from agents.index_reader import JobQuery
from ops.cli import exits, output
from ops.cli.errors import CliError
from ops.cli.main import app
from ops.cli.selector import job_query
from ops.cli.session import Format, begin

_ROOT = get_command(app)
#: Where an example's own words end: at a pipe or a file to write.
_BEFORE, _END = re.compile(r".*jobstream (--home \S+ )?"), re.compile(r" [|>] ")


def leaves(command: Any = _ROOT, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if not inner:
        yield words, command
    for name, one in (inner or {}).items():
        yield from leaves(one, (*words, name))


LEAVES = dict(leaves())


def examples(words: tuple[str, ...]) -> list[list[str]]:
    """Return the words of a command's examples, after `jobstream`."""
    text = (LEAVES[words].help or "").partition("Examples:")[2]
    lines = [_BEFORE.sub("", line) for line in text.splitlines() if "jobstream " in line]
    return [shlex.split(_END.split(line)[0]) for line in lines]


def leaf_of(example: list[str]) -> tuple[str, ...]:
    """Return the command that an example calls, before its arguments."""
    return next(tuple(example[:count]) for count in (1, 2, 3) if tuple(example[:count]) in LEAVES)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_examples_of_itself_that_it_would_take(words: tuple[str, ...]) -> None:
    found = examples(words)
    called = [leaf_of(example) for example in found]
    # others may stand beside it, where it needs them
    assert words in called
    for leaf, example in zip(called, found, strict=True):
        with LEAVES[leaf].make_context(leaf[-1], example[len(leaf) :]):
            pass


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_printed_for_each_shell(shell: str) -> None:
    printed = CliRunner().invoke(app, [], prog_name="jobstream", env={"_JOBSTREAM_COMPLETE": f"source_{shell}"})
    assert printed.exit_code == exits.OK
    assert f"_JOBSTREAM_COMPLETE=complete_{shell}" in printed.stdout


def test_completion_knows_commands_options_and_values() -> None:
    def completed(text: str) -> list[str]:
        env = {"_JOBSTREAM_COMPLETE": "complete_bash", "COMP_WORDS": text, "COMP_CWORD": str(text.count(" "))}
        return CliRunner().invoke(app, [], prog_name="jobstream", env=env).stdout.split()

    assert completed("jobstream re") == ["revoke", "retry", "replay"]
    assert "--selector" in completed("jobstream list --se")
    assert completed("jobstream list -o y") == ["yaml"]


RECORDS = [{"id": "a", "n": 1, "text": "é: x"}, {"id": "b", "n": None, "text": "[y]"}]


def shown(wanted: Format, capsys: pytest.CaptureFixture[str]) -> str:
    begin(wanted)
    output.listing(wanted, RECORDS, ["a", "b"], ("id", "n", "text"), [("a", 1, "é"), ("b", 2, "y")], more=1)
    begin(Format.TABLE)
    return capsys.readouterr().out


def test_a_list_is_printed_in_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(Format.TABLE, capsys) == "ID  N\na   1\nb   2\n"
    assert shown(Format.WIDE, capsys) == "ID  N  TEXT\na   1  é\nb   2  y\n"
    assert shown(Format.NAME, capsys) == "a\nb\n"
    assert yaml.safe_load(shown(Format.JSON, capsys)) == RECORDS
    text = shown(Format.YAML, capsys)
    assert yaml.safe_load(text) == RECORDS
    assert "é" in text and "{" not in text


def test_what_comes_one_by_one_is_a_yaml_document_each(capsys: pytest.CaptureFixture[str]) -> None:
    begin(Format.YAML)
    for record in RECORDS:
        output.print_json(record, indent=False)
    begin(Format.TABLE)
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == RECORDS


def test_a_command_that_prints_whole_values_prints_yaml_too() -> None:
    printed = CliRunner().invoke(app, ["hash", "--param", "a=1", "-o", "yaml"])
    assert list(yaml.safe_load(printed.stdout)) == ["payload_hash"]
    assert CliRunner().invoke(app, ["hash", "--param", "a=1"]).stdout.strip().isalnum()


def test_a_command_without_a_list_has_no_names_to_print() -> None:
    refused = CliRunner().invoke(app, ["hash", "--param", "a=1", "-o", "name"])
    assert (refused.exit_code, "list or get" in refused.stderr) == (exits.USAGE, True)


def test_a_query_picks_by_fields_tags_and_labels() -> None:
    found = job_query(["status=failed,type=x", "tag=nightly,label.site=alps,label.a/b.c-d=e,user=u,worker=w"])
    assert found == JobQuery(
        status="job-failed", type="x", tag="nightly", user="u", worker="w", labels={"site": "alps", "a/b.c-d": "e"}
    )
    clauses = found.clauses()
    assert {"term": {"job.needs.labels.site": "alps"}} in clauses
    assert {"bool": {"should": [{"term": {"job.tag": "nightly"}}, {"term": {"tags": "nightly"}}],
                     "minimum_should_match": 1}} in clauses  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "status", "status=", "status=lost", "label.=x", "label.NAME", "label.*=x", "labels=x", "tag=a,tag=b"]
)
def test_a_query_that_names_nothing_there_is_is_refused(text: str) -> None:
    with pytest.raises(CliError) as refused:
        job_query([text])
    assert refused.value.code == exits.USAGE


def test_only_jobs_that_go_on_are_revoked_by_a_query() -> None:
    assert {"terms": {"status": ["job-offline", "job-queued", "job-started"]}} in JobQuery(unfinished=True).clauses()
    refused = CliRunner().invoke(app, ["revoke", "--query", "status=failed", "--yes"])
    assert (refused.exit_code, "have not ended" in refused.stderr) == (exits.USAGE, True)


@pytest.mark.parametrize(
    "words", [["get"], ["revoke"], ["get", "x", "--query", "tag=a"], ["revoke", "x", "-q", "tag=a"]]
)
def test_jobs_are_named_or_picked_and_not_both(words: list[str]) -> None:
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, "--query NAME=VALUE" in refused.stderr) == (exits.USAGE, True)
