"""Where a worker's secrets are, and which jobs may have which."""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.secrets.mask import LEAST, Mask
from pipeline.secrets.reference import reference_of, variable_of

#: Bytes of a secret.
_MOST = 8 * 1024
_ANY = "*"


class SecretError(Exception):
    """A job can't have a secret; `refused` where it may not, else the worker lacks it. The text names no value."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Given:
    """The variables that a command gets instead of, or beside, references, and the mask of what is in them."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mask: Mask = field(default_factory=Mask, repr=False)


class Vault:
    """Gives jobs those secrets that the operator allows to their type.

    `allowed` has for each name patterns of job types (`job-download:v2`, `job-ingest:*`); `*` alone is any job. A
    secret is the variable JOBSTREAM_SECRET_<NAME> of this process, else the file `folder`/NAME.
    """

    def __init__(
        self,
        allowed: Mapping[str, Iterable[str]],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Raises ValueError where two names share a variable: who may have one of the secrets would get the other."""
        self._allowed = {name: tuple(patterns) for name, patterns in allowed.items()}
        by_variable: dict[str, str] = {}
        for name in self._allowed:
            other = by_variable.setdefault(variable_of(name), name)
            if other != name:
                raise ValueError(f"secrets {other} and {name} share the variable {variable_of(name)}: rename one")
        self._folder = folder
        self._environment = os.environ if environment is None else environment

    def given(self, names: Iterable[str], env: Mapping[str, str], job_type: str, *, registered: bool) -> Given:
        """Return what a command gets for the references by these names, and in its environment `env`.

        A variable whose value is a reference becomes the secret; each secret is in its own variable too. `registered`
        says that the job's command, and the container around it, are of its registered type or the worker's
        configuration, not the submitter's: else only what is allowed to any job is given. Raises SecretError.
        """
        referred = {variable: name for variable, value in env.items() if (name := reference_of(value)) is not None}
        wanted = sorted({*names, *referred.values()})
        found = {name: self._of(name, job_type, registered=registered) for name in wanted}
        own = {variable_of(name): value for name, value in found.items()}
        return Given({**own, **{variable: found[name] for variable, name in referred.items()}}, Mask(found.values()))

    def _of(self, name: str, job_type: str, *, registered: bool) -> str:
        patterns = self._allowed.get(name, ())
        if _ANY not in patterns and not (registered and any(fnmatchcase(job_type, one) for one in patterns)):
            raise SecretError(f"secret://{name} isn't allowed to jobs like this one on this worker", refused=True)
        value = self._environment.get(variable_of(name))
        if value is None:
            value = self._file(name)
        if not LEAST <= len(value.strip()) <= _MOST or "\0" in value:
            raise SecretError(f"secret://{name} is no text of {LEAST} to {_MOST} characters", refused=False)
        return value

    def _file(self, name: str) -> str:
        if self._folder is None:
            raise SecretError(f"secret://{name} isn't on this worker", refused=False)
        try:
            # no device or pipe is waited for; a link is the operator's own
            file = os.open(self._folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise SecretError(f"secret://{name} is no regular file on this worker", refused=False)
                data = os.read(file, _MOST + 1)
            finally:
                os.close(file)
        except OSError as error:
            raise SecretError(
                f"secret://{name} can't be read on this worker: {error.strerror}", refused=False
            ) from error
        if len(data) > _MOST:
            raise SecretError(f"secret://{name} has more than {_MOST} bytes", refused=False)
        return data.decode(errors="surrogateescape").rstrip("\r\n")
