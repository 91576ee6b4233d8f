"""Which host paths a container may see.

Decided on resolved paths: `..`, `//` and symlinks lead where they lead before anything is compared (spec §6 compares
prefixes of the text). What is not allowed is refused; nothing is left out silently.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.containers.errors import RefusedError
from pipeline.containers.spec import Mount

#: Container paths that stay the image's and the engine's own.
RESERVED = tuple(PurePosixPath(path) for path in ("/proc", "/sys", "/dev"))


#: Sockets of container engines in their usual places.
_SOCKETS = ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
#: Variables that name others.
_SOCKET_VARIABLES = ("DOCKER_HOST", "CONTAINER_HOST")


def engine_sockets(url: str | None = None) -> tuple[Path, ...]:
    """Return where this machine's container engines listen, so far as usage, environment and this URL tell."""
    named = [url or "", *(os.environ.get(name, "") for name in _SOCKET_VARIABLES)]
    own = [one.removeprefix("unix://") for one in named if one.startswith("unix://")]
    return tuple(map(Path, (*_SOCKETS, *own)))


@dataclass(frozen=True, slots=True)
class MountPolicy:
    """The host folders that mounts may come from, those of them that may be written to, and what is never mounted.

    `sockets` are engines': neither they nor any folder that holds one can be mounted.
    """

    roots: tuple[Path, ...] = ()
    writable_roots: tuple[Path, ...] = ()
    sockets: tuple[Path, ...] = ()

    def check(self, mounts: Iterable[Mount], working_dir: Path) -> list[Mount]:
        """Return the mounts with resolved host and absolute container paths; raises RefusedError on the first that
        isn't allowed."""
        checked: list[Mount] = []
        taken = {PurePosixPath(working_dir)}
        for mount in mounts:
            target = self._target(mount, working_dir)
            if target in taken:
                raise RefusedError(f"two mounts at {target}")
            taken.add(target)
            checked.append(Mount(str(self.source(mount.host, mount.mode)), str(target), mount.mode))
        return checked

    def working_dir(self, path: Path) -> Path:
        """Return the working directory, resolved; it needs no root, for the worker itself chose it."""
        resolved = _resolve(str(path))
        if not resolved.is_dir():
            raise RefusedError(f"working directory {path} isn't a directory")
        self._check_never(resolved, str(path))
        return resolved

    def source(self, host: str, mode: str) -> Path:
        """Return a host path, resolved, that may be mounted in this mode; else raises RefusedError."""
        if mode not in ("ro", "rw"):
            raise RefusedError(f"mount of {host}: mode {mode!r} isn't ro or rw")
        if not Path(host).is_absolute():
            raise RefusedError(f"mount of {host}: not an absolute path")
        resolved = _resolve(host)
        self._check_never(resolved, host)
        roots = self.writable_roots if mode == "rw" else (*self.roots, *self.writable_roots)
        if not _within(resolved, roots):
            allowed = ", ".join(map(str, roots)) or "none"
            raise RefusedError(f"mount of {host} ({resolved}) {mode}: not in an allowed folder ({allowed})")
        return resolved

    def _check_never(self, resolved: Path, said: str) -> None:
        if resolved == Path("/"):
            raise RefusedError(f"mount of {said}: the whole host is never mounted")
        kind = resolved.stat().st_mode
        if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            raise RefusedError(f"mount of {said}: neither a file nor a directory")
        for socket in self.sockets:
            real = Path(os.path.realpath(socket))
            if resolved == real or resolved in real.parents:
                raise RefusedError(f"mount of {said}: it holds the container engine's socket")

    @staticmethod
    def _target(mount: Mount, working_dir: Path) -> PurePosixPath:
        joined = os.path.normpath(PurePosixPath(working_dir) / mount.container)
        # POSIX keeps two leading slashes apart from one; a kernel doesn't.
        target = PurePosixPath("/" + joined.lstrip("/"))
        if ".." in PurePosixPath(mount.container).parts:
            raise RefusedError(f"mount at {mount.container}: `..` in a container path")
        if any(target == path or path in target.parents for path in RESERVED):
            raise RefusedError(f"mount at {mount.container}: reserved")
        if target == PurePosixPath(working_dir) or target in PurePosixPath(working_dir).parents:
            raise RefusedError(f"mount at {mount.container}: it would hide the working directory")
        return target


def _resolve(path: str) -> Path:
    try:
        return Path(path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise RefusedError(f"mount of {path!r}: {getattr(error, 'strerror', None) or error}") from error


def _within(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(os.path.realpath(root)) for root in roots)
