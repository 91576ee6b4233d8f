"""A processor by its name, in a process of its own: it can be ended, and what it breaks is not the worker's."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from pipeline.processors.processor import ProcessorError, Said

#: What processors print is in this file of the work directory.
LOG = "_processors.txt"
#: Bytes of an answer, which holds the context.
_ANSWER = 8 << 20
#: How the names of variables begin that are the worker's own business: keys, passwords, secrets of jobs.
_OWN = ("JOBSTREAM_TOKEN_KEY", "JOBSTREAM_KAFKA", "JOBSTREAM_SINK", "JOBSTREAM_SECRET")


class Program:
    """See Processor. `name` must come from the operator's list."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, directory: Path, job: Mapping[str, Any], context: Mapping[str, Any]) -> Said:
        """See Processor; truthy says that the command may run."""
        request = {"name": self.name, "directory": str(directory), "job": job, "context": context}
        said = await self._run(directory, orjson.dumps(request, default=str))
        if "error" in said:
            raise ProcessorError(str(said["error"]))
        return Said(said.get("value") is True, said["context"])

    async def _run(self, directory: Path, request: bytes) -> dict[str, Any]:
        log = _log(directory)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "pipeline.processors.runner"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.upper().startswith(_OWN)},
                start_new_session=True,
            )
        finally:
            os.close(log)
        try:
            answer = await _answer(process, request)
            code = await process.wait()
        finally:
            await _end(process)
        try:
            said = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise ProcessorError(f"it ended with exit code {code} and without an answer; see {LOG}") from error
        if not isinstance(said, dict) or not ("error" in said or isinstance(said.get("context"), dict)):
            raise ProcessorError("it made the context something else than an object")
        return said


async def _answer(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(ConnectionError):
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()
    answer = bytearray()
    while data := await process.stdout.read(1 << 16):
        answer += data
        if len(answer) > _ANSWER:
            raise ProcessorError(f"its context is longer than {_ANSWER} bytes")
    return bytes(answer)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it with its children if it still runs, and wait for its end."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


def _log(directory: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(directory / LOG, flags, 0o644)
    except OSError:
        # a job may have put something else there
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
