"""Running a server as `nobody` where the operator is root: which user, and which folders it can reach."""

import hashlib
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

#: where root keeps what `nobody` must reach when the project lies in a private folder such as /root; only root may
#: write here, so nobody else can put a folder in the way
PUBLIC = Path("/var/lib/jobstream")


@dataclass(frozen=True)
class Account:
    """An unprivileged user, by numbers."""

    uid: int
    gid: int


def account() -> Account | None:
    """Return the user to drop to: `nobody` for root, None for everybody else."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path) -> bool:
    """Say whether users other than the owner can traverse all existing folders down to `path`."""
    return all(
        parent.stat().st_mode & 0o001 for parent in (path, *path.parents) if parent.is_dir() and not parent.is_symlink()
    )


def public_place(path: Path) -> Path:
    """Return `path` where `nobody` can reach it or need not, else a folder of its own below PUBLIC."""
    real = path.resolve()
    if account() is None or reachable(real):
        return path
    return PUBLIC / f"{path.name}-{hashlib.sha256(str(real).encode()).hexdigest()[:12]}"


def make_public(folder: Path) -> None:
    """Make a folder, and those above it that are missing, that everybody may traverse, whatever the umask."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        one.chmod(0o755)


def open_to_all(tree: Path) -> None:
    """Let everybody read the tree, whatever umask it was made under."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def public_copy(source: Path) -> Path:
    """Return `source` itself where `nobody` can reach it or need not, else a copy below PUBLIC, made once."""
    target = public_place(source)
    if target == source or target.exists():
        return target
    make_public(target.parent)
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copytree(source, fresh)
    open_to_all(fresh)
    try:
        fresh.rename(target)
    except OSError:
        # another process was quicker; its copy is as good
        shutil.rmtree(fresh)
    return target
