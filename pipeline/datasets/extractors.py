"""The operator's programs that make a product's metadata (spec §4.4 step 5).

An extractor is a program on the operator's list, called with the product's directory as its one argument, without a
shell; what it prints is a JSON object. It gets none of the worker's own variables, and ends with its time.
"""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson

from pipeline.datasets.discovery import MAX_MET_JSON
from pipeline.datasets.errors import InvalidProduct
from pipeline.nesting import MOST_LEVELS, is_too_deep

_PREFIX = "script:"
#: Variables that programs need to run at all; the worker's others may hold secrets.
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
#: seconds between two looks at whether to stop
_LOOK = 0.2
#: bytes of standard error that a failure shows
_SHOWN = 2048


class Extractors:
    """Runs extractors that are `allowed`: programs, or folders of programs. `timeout` is in seconds."""

    def __init__(self, allowed: Iterable[Path] = (), timeout: float = 600.0) -> None:
        self._allowed = tuple(path.resolve() for path in allowed)
        self._timeout = timeout

    def program(self, name: str) -> Path:
        """The program that a rule names: `script:` at its front and variables of the environment are resolved.

        Raises InvalidProduct if it is not on the list, or no file: also where a link leads away from the list.
        """
        text = os.path.expandvars(name.removeprefix(_PREFIX))
        path = Path(text).resolve()
        if not Path(text).is_absolute() or not any(path.is_relative_to(one) for one in self._allowed):
            raise InvalidProduct(f"extractor {text!r} is not on the worker's list (JOBSTREAM_WORKER__EXTRACTORS)")
        if not path.is_file():
            raise InvalidProduct(f"extractor {text!r} is no file")
        return path

    def run(self, name: str, product: Path, check: Callable[[], None]) -> dict[str, Any]:
        """Return what an extractor says of a product. `check` is called often, and what it raises ends the program.

        Raises InvalidProduct if it fails, takes too long, or prints something else than a JSON object of at most
        MAX_MET_JSON bytes.
        """
        program = self.program(name)
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    [program, product],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=product,
                    env={name: os.environ[name] for name in _PASSED if name in os.environ},
                    start_new_session=True,
                )
            except OSError as error:
                raise InvalidProduct(f"extractor {program}: {error.strerror}") from error
            try:
                output = self._output(process, program, check)
            finally:
                _end(process)
            if process.returncode != 0:
                said = _tail(errors)
                raise InvalidProduct(f"extractor {program} failed with exit code {process.returncode}: {said}")
        try:
            value = orjson.loads(output)
        except orjson.JSONDecodeError as error:
            raise InvalidProduct(f"extractor {program} printed no JSON: {error}") from error
        if not isinstance(value, dict):
            raise InvalidProduct(f"extractor {program} printed a {type(value).__name__}, not an object")
        if is_too_deep(value):
            raise InvalidProduct(f"extractor {program} printed JSON nested deeper than {MOST_LEVELS} levels")
        return value

    def _output(self, process: "subprocess.Popen[bytes]", program: Path, check: Callable[[], None]) -> bytes:
        assert process.stdout is not None
        deadline = time.monotonic() + self._timeout
        output = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                check()
                if time.monotonic() > deadline:
                    raise InvalidProduct(f"extractor {program} did not end in {self._timeout:g} s")
                if not selector.select(_LOOK):
                    continue
                data = os.read(process.stdout.fileno(), 1 << 16)
                output += data
                if len(output) > MAX_MET_JSON:
                    raise InvalidProduct(f"extractor {program} printed more than {MAX_MET_JSON} bytes")
                if not data:
                    break
        while not _has_ended(process):
            check()
            if time.monotonic() > deadline:
                raise InvalidProduct(f"extractor {program} did not end in {self._timeout:g} s")
            time.sleep(_LOOK / 10)
        return bytes(output)


def metadata(extracted: Mapping[str, Any], product_id: str, seed: Mapping[str, Any]) -> dict[str, Any]:
    """What a product's met.json says: the extractor's word, the product's name, and over both what the job seeded."""
    return {**extracted, "data_product_name": product_id, **seed}


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a program has ended; it isn't reaped, so that its group's number stays its own."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program with its children, whether it has ended or not: what it left running is nobody's."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    process.wait()


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _SHOWN))
    return errors.read().decode(errors="replace").strip()
