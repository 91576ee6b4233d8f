"""Why products were not published: one class for each thing that a caller does differently."""


class DatasetError(Exception):
    """Base of everything that `pipeline.datasets` raises on purpose; nothing of the job is visible after it."""


class InvalidProduct(DatasetError):  # noqa: N818
    """What the job wrote can't be published: a malformed file, a reserved name, a link that leads outside."""


class InvalidRules(DatasetError):  # noqa: N818
    """The operator's datasets.json can't be used; the message names the file, entry and field."""


class NotRecognised(DatasetError):  # noqa: N818
    """No rule matches a product."""


class PublishRefused(DatasetError):  # noqa: N818
    """The ledger gave no permission: the attempt is not the current one, or the job was revoked."""


class Fenced(DatasetError):  # noqa: N818
    """A higher attempt of the same job has taken over; this one must stop and report nothing else."""


class Collision(DatasetError):  # noqa: N818
    """The place belongs to somebody else; `owner` is that job's id, None where it isn't a product of ours."""

    def __init__(self, message: str, owner: str | None = None) -> None:
        super().__init__(message)
        self.owner = owner


class StoreUnsupported(DatasetError):  # noqa: N818
    """The store can't keep the promise of one atomic step that replaces nothing (file system, kernel)."""


class StoreBusy(DatasetError):  # noqa: N818
    """Another process works at the same place and did not end in the time allowed; trying again may help."""


class StoreUnavailable(DatasetError):  # noqa: N818
    """The store can't be reached, or refuses what it was asked; the text says what it said."""
