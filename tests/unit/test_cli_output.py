"""What is printed, where nobody looks at a terminal."""

import doctest

import pytest

from ops.cli import output, payload


def test_durations_and_values_are_read_as_documented() -> None:
    assert doctest.testmod(output).failed == 0
    assert doctest.testmod(payload).failed == 0


def test_a_table_is_aligned_text_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("job", "status"), [("a", "job-queued"), ("longer", None)])
    assert capsys.readouterr().out == "JOB     STATUS\na       job-queued\nlonger\n"


def test_what_a_job_says_can_neither_move_the_cursor_nor_break_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("error",), [("bad\x1b[2Jthing\nsecond",)])
    assert capsys.readouterr().out == "ERROR\nbad�[2Jthing second\n"


def test_markup_in_a_cell_is_shown_as_it_is() -> None:
    from rich.console import Console

    console = Console(width=80, file=None, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(output.rich_table(("error",), [("[bold]not bold[/bold]",)]))
    assert "[bold]not bold[/bold]" in captured.get()


def test_a_long_text_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("error",), [("x" * 1000,)])
    assert len(capsys.readouterr().out.splitlines()[1]) == 200
