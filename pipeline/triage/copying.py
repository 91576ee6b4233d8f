"""Taking what belongs into a triage dataset out of a directory that a job wrote: what can't be taken is left out."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.marker import MARKER
from pipeline.datasets.tree import MAX_DEPTH, JobTree

#: Files and directories that are taken at most, and matches of a glob that are looked at.
MAX_FILES = 10_000
_CHUNK = 1 << 20
#: What would make a product of a directory inside the dataset.
_DESCRIBES = ".dataset.json"


def belongs(name: str) -> bool:
    """Say whether something directly inside a job's directory is taken without being asked for."""
    return name.startswith("_") or name.endswith(".log")


def globs(wanted: object) -> Sequence[str]:
    """Return those of `_triage_additional_globs` that stay in the directory; anything but texts is none."""
    texts = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []
    return [
        text
        for text in texts
        if isinstance(text, str) and text and not text.startswith("/") and ".." not in PurePosixPath(text).parts
    ]


@dataclass
class Taking:
    """Copies from one job's directory into another; `left` says what was left out, and why.

    Links to files inside the job's directory are replaced by what they point at, other links are left out. A directory
    that can't be read becomes an empty one. No more than `budget` bytes are copied; `check` is called often.
    """

    tree: JobTree
    target: Path
    budget: int
    check: Callable[[], None]
    left: list[str] = field(default_factory=list)
    _taken: int = 0

    def take(self, additional: Sequence[str] = ()) -> None:
        """Take what belongs, then what the globs name."""
        for name in self.tree.entries(()):
            if belongs(name) and name != self.target.name:
                self._enter((name,), self.target, 0)
        for parts in self._matches(additional):
            if not belongs(parts[0]) and parts[0] != self.target.name:
                self._enter(parts, self.target, 0)

    def _matches(self, additional: Sequence[str]) -> Iterator[tuple[str, ...]]:
        for pattern in additional:
            try:
                for number, path in enumerate(self.tree.root.glob(pattern)):
                    self.check()
                    if number >= MAX_FILES:
                        self.left.append(f"{pattern}: more than {MAX_FILES} matches")
                        break
                    yield path.relative_to(self.tree.root).parts
            except (OSError, ValueError, NotImplementedError, IndexError) as error:
                self.left.append(f"{pattern}: {error}")

    def _enter(self, parts: tuple[str, ...], folder: Path, depth: int) -> None:
        self.check()
        try:
            self._copy(parts, _free(folder, parts[-1]), depth)
        except (InvalidProduct, OSError) as error:
            self.left.append(f"{'/'.join(parts)}: {error}")

    def _copy(self, parts: tuple[str, ...], place: Path, depth: int) -> None:
        if self._taken >= MAX_FILES or depth > MAX_DEPTH:
            raise InvalidProduct(f"more than {MAX_FILES} files, or {MAX_DEPTH} levels")
        self._taken += 1
        path = self.tree.path(parts)
        linked = stat.S_ISLNK(path.lstat().st_mode)
        real = self.tree.locate(path)
        if not stat.S_ISDIR(self.tree.path(real).lstat().st_mode):
            self._copy_file(real, place)
        elif linked:
            raise InvalidProduct("a link to a directory")
        else:
            place.mkdir()
            for name in self.tree.entries(real):
                self._enter((*real, name), place, depth + 1)

    def _copy_file(self, parts: tuple[str, ...], place: Path) -> None:
        with self.tree.opened(parts) as handle:
            size = os.fstat(handle).st_size
            if size > self.budget:
                raise InvalidProduct(f"its {size} bytes are more than the {self.budget} that are left")
            self.budget -= size
            with place.open("xb") as file:
                while size > 0 and (data := os.read(handle, min(size, _CHUNK))):
                    self.check()
                    size -= file.write(data)


def _free(folder: Path, name: str) -> Path:
    """Return where something of a name goes: beside what has that name, under one with a time."""
    if name == MARKER or name.endswith(_DESCRIBES):
        name = f"{name}.copy"
    place = folder / name
    return place if not os.path.lexists(place) else folder / f"{name}.{time.time_ns()}"
