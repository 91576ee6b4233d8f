"""`jobstream logs`: what a job prints, from its work directory on this host."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import printable
from ops.cli.session import settings

_FILES = ("_stdout.txt", "_stderr.txt")
_CHUNK = 1 << 16
#: s between two looks at files that grow
_EVERY = 0.25


def logs(
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    stdout_only: Annotated[bool, typer.Option("--stdout", help="Leave its standard error out.")] = False,
) -> None:
    """Print what a job wrote: its standard output to standard output, its standard error to standard error.

    Works on the host that the job runs or ran on, while its work directory is kept.

    \b
    Examples:
      jobstream logs 3f2a-9c1b
      jobstream logs 3f2a-9c1b -f
    """
    from ops.reading.facts import FactReader
    from ops.submitting import is_final
    from pipeline.identity import family_of_job

    names = _FILES[:1] if stdout_only else _FILES
    with FactReader(settings()) as reader, reader.follow([family_of_job(job_id)]) as follower:
        facts = reader.of_job(job_id)
        if not facts:
            raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
        latest = facts[-1]
        printed = _Printed(names)
        printed.turn_to(_work_directory([one.document for one in reversed(facts)]))
        while follow and not is_final(latest):
            fact = follower.next(_EVERY)
            if fact is not None and fact.job_id == job_id and fact.seq > latest.seq:
                latest = fact
                printed.turn_to(_work_directory([fact.document]) or printed.folder)
            printed.more()
        if printed.folder is None:
            raise CliError(_nowhere(job_id, latest.status, latest.document), exits.NOT_FOUND)
        printed.more()


class _Printed:
    """How far each file of the job was printed."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._offsets: dict[str, int] = {}
        self.folder: Path | None = None

    def turn_to(self, folder: Path | None) -> None:
        """Print from this directory from now on: another attempt may have another one."""
        if folder is not None and folder != self.folder:
            if not folder.is_dir():
                return
            self.folder = folder
            self._offsets.clear()

    def more(self) -> None:
        """Print what has come since."""
        if self.folder is None:
            return
        for name in self._names:
            target = sys.stdout if name == _FILES[0] else sys.stderr
            self._offsets[name] = _copy(self.folder / name, self._offsets.get(name, 0), target)


def _copy(path: Path, start: int, target: Any) -> int:
    """Copy a file from offset `start` to its end; return that end. A job's symbolic link is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return start
    except OSError as error:
        say(f"jobstream: {path}: {error.strerror}")
        return start
    with os.fdopen(descriptor, "rb") as source:
        source.seek(start)
        while chunk := source.read(_CHUNK):
            start += len(chunk)
            _write(chunk, target)
    target.flush()
    return start


def _write(chunk: bytes, target: Any) -> None:
    """Write bytes as they are; to a terminal without what would take it over."""
    if target.isatty() or not hasattr(target, "buffer"):
        lines = chunk.decode(errors="replace").split("\n")
        target.write("\n".join(printable(line) for line in lines))
    else:
        target.buffer.write(chunk)


def _work_directory(documents: list[str]) -> Path | None:
    """Return the work directory of the first document that names one."""
    for document in documents:
        folder = _info(document).get("job_dir")
        if isinstance(folder, str) and folder.startswith("/"):
            return Path(folder)
    return None


def _info(document: str) -> dict[str, Any]:
    import orjson

    try:
        info = orjson.loads(document)["job"]["job_info"]
    except (ValueError, KeyError, TypeError):
        return {}
    return info if isinstance(info, dict) else {}


def _nowhere(job_id: str, status: str, document: str) -> str:
    """Say why there is nothing to print."""
    info = _info(document)
    node = info.get("execute_node")
    folder = info.get("job_dir")
    if folder is None:
        return f"{job_id} is {status}: it has no work directory yet; -f waits for it"
    host = socket.gethostname()
    if node and node not in {host, socket.getfqdn()}:
        return f"{job_id} ran on {node}, this is {host}: run `jobstream logs` there"
    return f"{job_id}: {folder} is not on this host, or was cleaned up"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(logs)
