"""`jobstream logs`: what a job prints, on whatever worker it runs."""

import codecs
import io
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.session import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.reading.facts import Follower
    from ops.reading.logs import LogReader
    from pipeline.messages.fact import Fact
    from pipeline.messages.log import LogChunk

#: s between two looks at what happened to the job
_EVERY = 0.25
#: s that the last chunks of a job that has ended may be late, and after which none of an ended one is
_LATE, _OLD = 2.0, 10.0
#: s without a chunk after which it is said: a worker sends one every 30 s
_SILENCE = 100.0


class Stream(StrEnum):
    """What a job prints to."""

    STDOUT = "stdout"
    STDERR = "stderr"


def logs(
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    stream: Annotated[Stream | None, typer.Option(help="Only this one.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only this one; by default the newest.")] = None,
) -> None:
    """Print what a job wrote: its standard output to standard output, its standard error to standard error.

    It comes from jobs.logs, whatever host the job runs on. What is no longer there is looked for in the job's work
    directory on this host. Bytes are written as they are; to a terminal, those that are no text are written as \\x1b.

    \b
    Examples:
      jobstream logs 3f2a-9c1b
      jobstream logs 3f2a-9c1b -f
      jobstream logs 3f2a-9c1b --stream stderr --attempt 1
    """
    from ops.cli.work_directory import copy, nowhere, work_directory
    from ops.reading.facts import FactReader
    from ops.reading.logs import LogReader, began, newest_attempt
    from pipeline.identity import family_of_job

    made, streams = settings(), [stream.value] if stream else [one.value for one in Stream]
    with FactReader(made) as reader, reader.follow([family_of_job(job_id)]) as follower:
        facts = reader.of_job(job_id)
        if not facts:
            raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
        first = attempt or newest_attempt(facts)
        printed = _Printed(first, streams, only=attempt is not None or not follow)
        with LogReader(made, job_id, began(facts, first)) as source:
            if follow:
                _follow(source, follower, facts, printed)
            else:
                _print(source, printed)
    if not printed.begun:
        folder = work_directory(facts, printed.attempt)
        if folder is None:
            raise CliError(nowhere(job_id, facts[-1]), exits.NOT_FOUND)
        copy(folder, streams, printed.write)
    printed.close()


def _print(source: "LogReader", printed: "_Printed") -> None:
    end = source.end()
    while not source.reached(end) and not printed.ended:
        if (chunk := source.next(_EVERY)) is not None:
            printed.add(chunk)


def _follow(source: "LogReader", follower: "Follower", facts: "list[Fact]", printed: "_Printed") -> None:
    """Print chunks until the job has ended, and its last chunks are there or late; add new facts of the job."""
    late = 0.0 if printed.nothing_follows(facts) and time.time() - facts[-1].time / 1000 > _OLD else _LATE
    end, heard, silent = None, time.monotonic(), False
    while True:
        chunk = source.next(_EVERY if end is None else 0.05)
        if chunk is not None:
            printed.add(chunk)
            heard, silent = time.monotonic(), False
        while (fact := follower.next(0.0)) is not None:
            if fact.job_id == facts[-1].job_id and fact.seq > facts[-1].seq:
                facts.append(fact)
        if end is None and printed.nothing_follows(facts):
            end, heard = source.end(), time.monotonic()
        waited = time.monotonic() - heard
        if end is not None and source.reached(end) and (printed.ended or waited > late):
            return
        if printed.begun and waited > _SILENCE and not silent:
            say(f"jobstream: nothing was heard of attempt {printed.attempt} for {waited:.0f} s")
            silent = True


class _Printed:
    """What was printed of one attempt after the other."""

    def __init__(self, attempt: int, streams: list[str], *, only: bool) -> None:
        from pipeline.logs.reading import Assembler

        self.attempt = attempt
        self._only = only
        self._make = Assembler
        self._assembler = Assembler()
        self._writers = {name: _writer(getattr(sys, name)) for name in streams}
        self.begun = False

    @property
    def ended(self) -> bool:
        """Whether all of the attempt was printed."""
        return self._assembler.ended

    def nothing_follows(self, facts: "Sequence[Fact]") -> bool:
        """Say whether no more of what is wanted can come, by the job's facts."""
        from ops.submitting import is_final

        return is_final(facts[-1]) or (self._only and facts[-1].attempt > self.attempt)

    def add(self, chunk: "LogChunk") -> None:
        """Print what is new in a chunk; a later attempt's first one begins anew, unless only one is wanted."""
        if chunk.attempt > self.attempt and not self._only:
            self.attempt, self._assembler = chunk.attempt, self._make()
            say(f"jobstream: attempt {chunk.attempt}")
        if chunk.attempt != self.attempt or chunk.stream not in {"stdout", "stderr"}:
            return
        self.begun = True
        piece = self._assembler.add(chunk)
        if piece.stream not in self._writers:
            return
        if piece.remark:
            say(f"jobstream: {piece.remark}")
        self.write(piece.stream, piece.data)

    def write(self, stream: str, data: bytes) -> None:
        """Print a stream's next bytes."""
        self._writers[stream].write(data)

    def close(self) -> None:
        """Print what was held back: the beginning of a character that never ended."""
        for writer in self._writers.values():
            writer.close()


def _writer(target: Any) -> "_Raw | _Escaped":
    return _Escaped(target) if target.isatty() or not hasattr(target, "buffer") else _Raw(target)


class _Raw:
    """Writes bytes as they are."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def write(self, data: bytes) -> None:
        self._target.buffer.write(data)
        self._target.flush()

    def close(self) -> None:
        self._target.flush()


class _Escaped:
    """Writes text to a terminal, and what isn't so that it can be seen and changes nothing; a line may come in parts.

    A carriage return begins a new line: what it would have written over stays.
    """

    def __init__(self, target: Any) -> None:
        self._target = target
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def write(self, data: bytes, final: bool = False) -> None:
        self._target.write("".join(map(_visible, self._decoder.decode(data, final))))
        self._target.flush()

    def close(self) -> None:
        self.write(b"", final=True)


def _visible(char: str) -> str:
    return char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(logs)
