"""The command of a job: words and environment, never a line for a shell (spec §2.3)."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pipeline.jobtypes.words import UnknownParameterError, substituted
from pipeline.work.errors import AttemptError
from pipeline.work.worker_config import CommandConfig, JobWorkerConfig, TypeConfig


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute, and the variables that it gets; `config` is the worker's entry that it came from, if any."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    config: TypeConfig | None = None


def build(document: Mapping[str, Any], worker_config: JobWorkerConfig | None) -> Command:
    """Return a job's command.

    A worker with a configuration runs only what that holds for the job's type. Without one it runs what the gate
    resolved for a registered type, as it is; else `params._command`, else the document's `command`, split as a shell
    would. Raises AttemptError if there is none, if it can't be split, and if an argument names a parameter that the
    job doesn't have.
    """
    params = document.get("params") or {}
    if worker_config is not None:
        entry = worker_config.of_type(str(document.get("type")))
        if entry is None:
            raise AttemptError(f"this worker has no command for job type {document.get('type')!r}")
        return _of(entry.command, params, entry)
    given = document.get("command")
    if isinstance(given, Mapping):
        return _resolved(given)
    line = params.get("_command") or given
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
    """Replace each argument that is exactly `$word` by that parameter's text (`pipeline.jobtypes.words`).

    What came from a parameter is not looked at again, and nothing is replaced inside a longer argument. Raises
    AttemptError for an unknown parameter.
    """
    try:
        return substituted(arguments, params, braces=False)
    except UnknownParameterError as error:
        raise AttemptError(f"argument {error} names a parameter that the job doesn't have") from error


def _resolved(command: Mapping[str, Any]) -> Command:
    """Return the command that the gate resolved: its values came from a submitter, and none of them is a `$word`."""
    try:
        config = CommandConfig.model_validate(command)
    except ValidationError as error:
        raise AttemptError(f"the job's command can't be read: {error.errors()[0]['msg']}") from error
    return _checked((config.path, *config.options, *config.arguments), config, None)


def _of(config: CommandConfig, params: Mapping[str, Any], entry: TypeConfig | None) -> Command:
    return _checked((config.path, *config.options, *substitute(config.arguments, params)), config, entry)


def _checked(argv: tuple[str, ...], config: CommandConfig, entry: TypeConfig | None) -> Command:
    if any("\0" in word for word in argv):
        raise AttemptError("the command holds a NUL character")
    return Command(argv, {variable.key: variable.value for variable in config.env}, entry)
