"""`_run.sh`: runs an attempt's command again, by hand, as the worker did (spec §3.4)."""

import re
import shlex
from collections.abc import Mapping

from pipeline.containers.base import Engine
from pipeline.containers.spec import RunSpec

#: What a shell can name a variable.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"secret|token|passw|credential|api_?key|access_?key|private", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Say whether a variable's name sounds as if its value were nobody's business."""
    return _SECRET.search(name) is not None


def render(spec: RunSpec, engine: Engine) -> bytes:
    """Return the script: the command in its directory, with its environment and no other, its words quoted.

    The values of secrets are left out: they are taken from the environment of who runs it, and a comment says so.
    Standard input is empty, as for the worker's run; output goes where that of the script goes. Raises EngineError
    as `Engine.command_line` does.
    """
    labels = spec.labels
    secrets = [name for name in spec.env if is_secret(name)]
    words = [shlex.quote(word) for word in engine.command_line(spec, secrets)]
    lines = [
        "#!/bin/sh",
        f"# {labels.job}, attempt {labels.attempt}: the same command again, in the same directory",
        *(f"# {name!r} is left out here: export it before" for name in secrets),
        "set -e",
        f"cd {shlex.quote(str(spec.working_dir))}",
        "umask 022",
        "ulimit -c 0",
    ]
    own = engine.environment(spec)
    if own:
        words = ["env", "-i", *_assignments(own, secrets), *_plain_command(words)]
    lines.append(f"exec {' '.join(words)} </dev/null")
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")


def _assignments(environment: Mapping[str, str], secrets: list[str]) -> list[str]:
    """Return the words that set the variables; a secret is set if the script's caller has it."""
    made = ["--"]
    for name, value in environment.items():
        if name not in secrets:
            made.append(shlex.quote(f"{name}={value}"))
        elif _NAME.fullmatch(name):
            made.append(f'${{{name}+"{name}=${name}"}}')
    return made


def _plain_command(words: list[str]) -> list[str]:
    """Return a command that `env` can't take for another variable."""
    return ["sh", "-c", "'exec \"$@\"'", "sh", *words] if words and "=" in words[0] else words
