"""What a terminal shows of a job's output, and where its logs are looked for."""

import io
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.logs import _Escaped, _Raw
from ops.cli.work_directory import copy, nowhere, work_directory
from ops.reading.logs import began, newest_attempt
from pipeline.containers.tail import tail_text
from pipeline.messages.fact import Fact

FACT = Fact("f-1", "f", "s", "h", 1, "job-queued", 1, 100_000, "{}", 0, 0, 0, "1")


def escaped(*parts: bytes) -> str:
    target = io.StringIO()
    writer = _Escaped(target)
    for part in parts:
        writer.write(part)
    writer.close()
    return target.getvalue()


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ((b"plain\ttext\n",), "plain\ttext\n"),
        ((b"\x1b[31mred\x07",), "\\x1b[31mred\\x07"),
        ((b"\xff\x00",), "\\xff\\x00"),
        (("é".encode()[:1], "é".encode()[1:]), "é"),
        (("é".encode()[:1],), "\\xc3"),
        ((b"10%\r20%\r", b"\nend"), "10%\n20%\nend"),
        (("\u202egnirts".encode(),), "\\u202egnirts"),
        ((b"'\"\\",), "'\"\\"),
    ],
)
def test_a_terminal_gets_text_and_what_is_none_as_escapes(parts: tuple[bytes, ...], shown: str) -> None:
    assert escaped(*parts) == shown


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_terminal_shows_the_same_wherever_the_bytes_were_cut(data: bytes, at: int) -> None:
    whole = escaped(data)
    assert escaped(data[:at], data[at:]) == whole
    assert all(char.isprintable() or char in "\n\t" for char in whole)


def test_a_pipe_gets_the_bytes_as_they_are() -> None:
    target = io.TextIOWrapper(io.BytesIO())
    writer = _Raw(target)
    writer.write(b"\xff\r\n\x00")
    writer.close()
    assert target.buffer.getvalue() == b"\xff\r\n\x00"


def test_the_newest_attempt_that_started_is_shown_from_shortly_before_its_start() -> None:
    started = replace(FACT, status="job-started", time=500_000)
    again = replace(FACT, attempt=2, time=900_000)
    assert newest_attempt([FACT, started, again]) == 1
    assert newest_attempt([FACT, again]) == 2
    assert began([FACT, started, again], 1) == 440_000
    assert began([FACT, again], 2) == 40_000


def test_an_attempts_work_directory_is_its_own_and_must_be_here(tmp_path: Path) -> None:
    def fact(attempt: int, folder: str) -> Fact:
        info = {"job": {"job_info": {"job_dir": folder, "execute_node": "elsewhere"}}}
        return replace(FACT, attempt=attempt, document=orjson.dumps(info).decode())

    facts = [FACT, fact(1, str(tmp_path)), fact(2, "/nonexistent"), fact(3, "relative")]
    assert work_directory(facts, 1) == tmp_path
    assert [work_directory(facts, attempt) for attempt in (2, 3, 4)] == [None, None, None]
    assert "elsewhere" in nowhere("f-1", facts[2])
    assert "-f waits" in nowhere("f-1", FACT)


def test_a_link_in_a_work_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "_stderr.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "_stdout.txt").write_bytes(b"\xff out")
    written: list[tuple[str, bytes]] = []
    copy(tmp_path, ["stdout", "stderr"], lambda stream, data: written.append((stream, data)))
    assert written == [("stdout", b"\xff out")]


def test_the_end_of_a_file_says_how_much_comes_before_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000 + b"end")
    assert tail_text(tmp_path / "a", 3) == "[… 1000 bytes before]\nend"
    assert tail_text(tmp_path / "a", 1003).endswith("xend")
    assert tail_text(tmp_path / "none", 3) == ""
