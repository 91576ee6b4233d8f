"""The command of a job: words and environment, never a line for a shell (spec §2.3)."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.work.errors import AttemptError
from pipeline.work.worker_config import CommandConfig, JobWorkerConfig, TypeConfig

_PARAMETER = re.compile(r"\$(\w+)")


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute, and the variables that it gets; `config` is the worker's entry that it came from, if any."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    config: TypeConfig | None = None


def build(document: Mapping[str, Any], worker_config: JobWorkerConfig | None) -> Command:
    """Return a job's command.

    A worker with a configuration runs only what that holds for the job's type; without one it runs `params._command`,
    else the document's `command`, split as a shell would. Raises AttemptError if there is none, if it can't be split,
    and if an argument names a parameter that the job doesn't have.
    """
    params = document.get("params") or {}
    if worker_config is not None:
        entry = worker_config.of_type(str(document.get("type")))
        if entry is None:
            raise AttemptError(f"this worker has no command for job type {document.get('type')!r}")
        return _of(entry.command, params, entry)
    line = params.get("_command") or document.get("command")
    if not line or not isinstance(line, str):
        raise AttemptError("the job has no command: neither a worker configuration nor params._command")
    return _of(split(line), params, None)


def split(line: str) -> CommandConfig:
    """Return the command that a line spells; raises AttemptError for one with open quotes or without words."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise AttemptError(f"params._command can't be split into words: {line!r}: {error}") from error
    if not words or not words[0]:
        raise AttemptError(f"params._command names no program: {line!r}")
    return CommandConfig(path=words[0], arguments=tuple(words[1:]))


def substitute(arguments: Sequence[str], params: Mapping[str, Any]) -> list[str]:
    """Replace each argument that is exactly `$word` by that parameter's text; a list's items become one each.

    What came from a parameter is not looked at again, and nothing is replaced inside a longer argument. Raises
    AttemptError for an unknown parameter.
    """
    words: list[str] = []
    for argument in arguments:
        named = _PARAMETER.fullmatch(argument)
        if named is None:
            words.append(argument)
            continue
        if named[1] not in params:
            raise AttemptError(f"argument {argument} names a parameter that the job doesn't have")
        value = params[named[1]]
        words.extend(map(_text, value) if isinstance(value, list | tuple) else [_text(value)])
    return words


def _of(config: CommandConfig, params: Mapping[str, Any], entry: TypeConfig | None) -> Command:
    argv = (config.path, *config.options, *substitute(config.arguments, params))
    if any("\0" in word for word in argv):
        raise AttemptError("the command holds a NUL character")
    return Command(argv, {variable.key: variable.value for variable in config.env}, entry)


def _text(value: Any) -> str:
    """Return what `str` does, but JSON for what has structure."""
    return orjson.dumps(value, default=str).decode() if isinstance(value, dict | list) else str(value)
