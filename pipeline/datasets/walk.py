"""What a product consists of: its directories and files, with links inside the job directory followed."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.marker import MARKER
from pipeline.datasets.tree import MAX_DEPTH, JobTree

Chain = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """`inside` is the path in the product, `parts` where it really is in the job directory."""

    inside: tuple[str, ...]
    parts: tuple[str, ...]
    is_directory: bool


def walk(tree: JobTree, parts: tuple[str, ...], wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[Entry]:
    """Yield the directory `parts` and all that is wanted of it, a directory before what is in it.

    Raises InvalidProduct for links that lead outside, loops, too deep nesting and the marker's name; devices, pipes
    and sockets are found when they are opened.
    """
    yield from _Walk(tree, wanted).directory(parts, (), ())


class _Walk:
    def __init__(self, tree: JobTree, wanted: Callable[[tuple[str, ...]], bool]) -> None:
        self.tree = tree
        self.wanted = wanted
        self.through_link = False

    def directory(self, parts: tuple[str, ...], inside: tuple[str, ...], chain: Chain) -> Iterator[Entry]:
        if parts in chain or len(inside) > MAX_DEPTH:
            raise InvalidProduct(f"{self.tree.path(parts)}: contains itself or is nested too deep")
        yield Entry(inside, parts, is_directory=True)
        for name in self.tree.entries(parts):
            if not inside and name == MARKER:
                raise InvalidProduct(f"{self.tree.path(parts)}: {MARKER} is reserved")
            if self.wanted((*inside, name)):
                yield from self._entry((*parts, name), (*inside, name), (*chain, parts))

    def _entry(self, parts: tuple[str, ...], inside: tuple[str, ...], chain: Chain) -> Iterator[Entry]:
        path = self.tree.path(parts)
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            parts = self.tree.locate(path)
            mode = self.tree.path(parts).lstat().st_mode
            if stat.S_ISDIR(mode):
                # One level only: links to directories full of such links would multiply without end.
                if self.through_link:
                    raise InvalidProduct(f"{path}: a link to a directory inside a linked directory")
                yield from self._linked(parts, inside, chain)
                return
        if stat.S_ISDIR(mode):
            yield from self.directory(parts, inside, chain)
        else:
            yield Entry(inside, parts, is_directory=False)

    def _linked(self, parts: tuple[str, ...], inside: tuple[str, ...], chain: Chain) -> Iterator[Entry]:
        self.through_link = True
        try:
            yield from self.directory(parts, inside, chain)
        finally:
            self.through_link = False
