"""`jobstream retry --query`: what it picks, how it asks, and what it says of each job; the broker is played."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import pytest
from typer.testing import CliRunner

from ops import retrying
from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.main import app
from ops.cli.selector import moment_of, selected
from ops.controlling import Answer, Asked
from ops.retrying import Outcome, Wish, retry_all
from pipeline.messages.control import ControlRequest
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Source
from pipeline.settings import Settings


def fact(job: str, status: str, attempt: int, of_job: int) -> Fact:
    document = json.dumps({"attempt": of_job})
    return Fact(job, "f", "s", "h", 1, status, attempt, 0, document, 0, 0, 0, "1", "because")


class PlayedController:
    """Answers as its class says, and keeps what it was asked and when."""

    answers: ClassVar[dict[str, tuple[Answer, Fact | None]]] = {}
    asked: ClassVar[list[ControlRequest]] = []
    under_way, most_under_way = 0, 0

    def __init__(self, settings: Settings, job_ids: Sequence[str]) -> None:
        type(self).under_way = type(self).most_under_way = 0
        type(self).asked = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, request: ControlRequest, *, known: bool = False) -> Asked:
        cls = type(self)
        cls.asked.append(request)
        cls.under_way += 1
        cls.most_under_way = max(cls.under_way, cls.most_under_way)
        return Asked(request.job_id, Source("control", 0, len(cls.asked)), known=known)

    def answer(self, asked: Asked, timeout: float) -> tuple[Answer, Fact | None]:
        type(self).under_way -= 1
        return self.answers.get(asked.job_id, (Answer.DONE, fact(asked.job_id, "job-queued", 2, 2)))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[PlayedController]]:
    monkeypatch.setattr(retrying, "Controller", PlayedController)
    monkeypatch.setattr(retrying.time, "sleep", lambda _: None)
    PlayedController.answers = {}
    yield PlayedController


def outcomes(wanted: list[Wish], rate: int = 10) -> list[tuple[str, Outcome]]:
    found = retry_all(Settings(), wanted, "me", "why", {"queue": "big"}, rate, 1.0)
    return [(wish.job_id, outcome) for wish, outcome, _ in found]


def test_each_request_names_the_attempt_that_it_follows(played: type[PlayedController]) -> None:
    assert outcomes([Wish("f-1", 3)]) == [("f-1", Outcome.RETRIED)]
    (request,) = played.asked
    assert json.loads(request.arguments) == {"queue": "big", "attempt": 3}


def test_no_more_is_under_way_than_is_asked_in_a_second(played: type[PlayedController]) -> None:
    assert len(outcomes([Wish(f"f-{n}", 1) for n in range(23)], rate=5)) == 23
    assert played.most_under_way == 5


def test_a_job_that_went_on_meanwhile_counts_as_done_and_one_that_did_not_as_refused(
    played: type[PlayedController],
) -> None:
    played.answers = {
        "f-1": (Answer.REFUSED, fact("f-1", "control-refused", 2, 2)),
        "f-2": (Answer.REFUSED, fact("f-2", "control-refused", 1, 1)),
    }
    assert outcomes([Wish("f-1", 1), Wish("f-2", 1)]) == [("f-1", Outcome.ALREADY), ("f-2", Outcome.REFUSED)]


def test_what_is_not_answered_ends_the_whole(played: type[PlayedController]) -> None:
    played.answers = {"f-2": (Answer.NOT_YET, None)}
    wanted = [Wish(f"f-{n}", 1) for n in range(9)]
    assert outcomes(wanted, rate=3) == [
        ("f-0", Outcome.RETRIED),
        ("f-1", Outcome.RETRIED),
        ("f-2", Outcome.NOT_YET),
    ]


# the command


@pytest.fixture
def cli(played: type[PlayedController], monkeypatch: pytest.MonkeyPatch) -> Any:
    asked: list[Any] = []

    class Index:
        def __init__(self, _: object) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def find(self, query: Any, limit: int) -> list[dict[str, Any]]:
            asked.append(query)
            jobs = [{"job_id": f"f-{n}", "attempt": 1, "status": "job-failed", "type": "t"} for n in range(3)]
            return jobs[:limit]

    monkeypatch.setattr("agents.index_reader.IndexReader", Index)

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["retry", *words], env={"JOBSTREAM_CONFIG": "/nonexistent.toml"})

    run.queries = asked  # type: ignore[attr-defined]
    return run


def test_a_dry_run_lists_the_jobs_and_asks_for_nothing(cli: Any, played: type[PlayedController]) -> None:
    played.asked = []
    result = cli("--query", "type=t,category=out-of-memory,since=2h", "--dry-run", "-o", "json")
    assert result.exit_code == exits.OK, result.output
    assert [one["job_id"] for one in json.loads(result.stdout)] == ["f-2", "f-1", "f-0"]
    (query,) = cli.queries
    assert (query.status, query.type, query.category) == ("job-failed", "t", "out-of-memory")
    assert played.asked == []


@pytest.mark.parametrize("words", ["type=t", "type=t,since=30d"])
def test_what_the_ledger_has_forgotten_is_not_asked_for(cli: Any, words: str) -> None:
    """It answers nothing of such a job, and the oldest come first: the whole would end with it, each time anew."""
    result = cli("--query", words, "--dry-run")
    (query,) = cli.queries
    ago = time.time() - query.since
    assert 7.9 * 86_400 < ago < 8 * 86_400
    assert ("ended more than 8d" in result.stderr) == ("since" in words)


def test_without_a_terminal_many_jobs_need_a_yes(cli: Any) -> None:
    result = cli("--query", "type=t")
    assert result.exit_code == exits.USAGE
    assert "3 jobs would be retried: add --yes" in result.stderr


def test_all_that_fit_are_retried_and_counted(cli: Any, played: type[PlayedController]) -> None:
    played.answers = {"f-1": (Answer.REFUSED, fact("f-1", "control-refused", 1, 1))}
    result = cli("--query", "type=t", "--yes")
    assert result.exit_code == exits.FAILED
    assert result.stdout.splitlines() == ["f-2  job-queued  attempt 2", "f-0  job-queued  attempt 2"]
    assert "2 retried, 1 refused of 3" in result.stderr


def test_a_limit_is_said_where_more_fit(cli: Any) -> None:
    result = cli("--query", "type=t", "--yes", "--limit", "2", "-o", "json")
    assert [json.loads(line)["outcome"] for line in result.stdout.splitlines()] == ["retried", "retried"]
    assert "more than 2 fit" in result.stderr


def test_what_is_not_answered_is_exit_code_3(cli: Any, played: type[PlayedController]) -> None:
    played.answers = {"f-2": (Answer.NOT_YET, None)}
    assert cli("--query", "type=t", "--yes", "--rate", "1").exit_code == exits.TIMEOUT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "JOB_IDs or --query"),
        (["f-1", "--query", "type=t"], "JOB_IDs or --query"),
        (["f-1", "f-2", "--attempt", "1"], "one JOB_ID"),
        (["--query", "status=queued"], "only jobs that have ended"),
        (["--query", "status=completed"], "--force"),
        (["--query", "status=lost"], "job-completed"),
        (["--query", "since=yesterday"], "30m, 2h, 3d"),
    ],
)
def test_a_wrong_command_line_says_what_is_needed(cli: Any, words: list[str], said: str) -> None:
    result = cli(*words)
    assert result.exit_code == exits.USAGE
    assert said in result.stderr


@pytest.mark.parametrize("text", ["type", "type=", "kind=t", "type=a,type=b", "type=a,,status=b"])
def test_a_query_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(CliError):
        selected([text], ("type", "status"))


def test_a_query_may_come_in_parts() -> None:
    assert selected(["type=a", "status=b, tag=c=d"], ("type", "status", "tag")) == {
        "type": "a",
        "status": "b",
        "tag": "c=d",
    }


def test_times_are_so_long_ago_or_iso_8601_in_utc() -> None:
    assert abs(moment_of("1d") - moment_of("24h")) < 5
    assert moment_of("1970-01-01T00:01") == moment_of("1970-01-01T01:01+01:00") == 60
