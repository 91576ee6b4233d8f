"""The seam to where products are kept. A local directory is one (`directory.py`); an object store is another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pipeline.datasets.marker import Marker
from pipeline.datasets.tree import JobTree

#: Whether a file or directory of the product (its path inside it) is to be copied.
Wanted = Callable[[tuple[str, ...]], bool]
#: Whether another job's product is nobody's any more, so that it may be replaced without force.
Orphaned = Callable[[Marker], bool]


def never(_theirs: Marker) -> bool:
    """Take no product for an orphan."""
    return False


def nothing() -> None:
    """Do nothing more before a commit ends."""
    return


@dataclass(frozen=True, slots=True)
class Address:
    """Where others find a product's files: the store's own URL, and the path in the store, for other URLs to end in."""

    url: str
    path: str


class Publication(ABC):
    """One attempt's way to make its products visible: all of them, or none.

    `stage` each product, ask the ledger for permission, `commit`. Leaving the `with` block without a commit discards
    what was staged. A process that dies at any point leaves nothing visible before its permission, and after it at
    most products that carry its marker, which the job's next attempt, or a sweep, withdraws.
    """

    @abstractmethod
    def stage(
        self,
        tree: JobTree,
        parts: tuple[str, ...],
        location: str,
        extra: Mapping[str, bytes],
        wanted: Wanted | None = None,
    ) -> int:
        """Copy the directory `parts` of a job to the attempt's own place and return its size in bytes.

        `location` is where `commit` shows it; `extra` are more files, by name, directly inside, which win over the
        job's own. Durable on return. Raises InvalidProduct for what can't be published, Collision if two
        products of this publication want one place, Fenced if a later attempt took over.
        """

    @abstractmethod
    def address(self, location: str) -> Address:
        """Where the files of the product that was staged for `location` are once they are visible."""

    @abstractmethod
    def commit(self, then: Callable[[], None] = nothing) -> None:
        """Make all that was staged visible. Only with the ledger's permission.

        What this attempt published before counts as done, or is replaced; products of lower attempts of the job are
        replaced. `then` is called when all is visible and can still be taken back; what it raises is a failure of
        the commit. On any failure everything is as before the call, and the failure is raised: Fenced, Collision,
        StoreBusy, StoreUnsupported, StoreUnavailable, OSError; with a note if something could not be taken back.
        """

    @abstractmethod
    def stop(self) -> None:
        """Make a `stage` that runs in another thread raise PublishRefused soon."""

    @abstractmethod
    def close(self) -> None:
        """Remove what is staged and not shown. Never raises for what is gone already; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store(ABC):
    """A place for products."""

    @abstractmethod
    def begin(self, marker: Marker, force: bool = False, orphaned: Orphaned = never) -> Publication:
        """Start publishing for an attempt, removing what it or a lower one left staged.

        What those made visible in a commit that never ended, so that nobody was told, is withdrawn. With `force`,
        products of other jobs may be replaced, without it those alone that are `orphaned`, which is asked at each
        collision. Raises Fenced if a higher attempt has begun. Where the same attempt is publishing in another
        process: StoreBusy, or that one is fenced, as the store can.
        """

    @abstractmethod
    def url(self, location: str) -> str:
        """The store's own URL of a location. Raises InvalidProduct if it isn't a place inside the store."""

    @abstractmethod
    def owner(self, location: str) -> Marker | None:
        """Whose product is visible at a location; None where there is none."""

    @abstractmethod
    def sweep(self, older_than: float) -> list[str]:
        """Remove what dead attempts left staged more than `older_than` seconds ago; name what was removed.

        What they made visible in a commit that never ended is withdrawn. Attempts that are publishing now are left
        alone, and so is everything else that is visible; a store that can't tell who lives goes by the time alone,
        so it must be longer than publishing takes. Raises OSError, StoreUnavailable.
        """
