"""What a job is and how it is decided: the domain, without any server.

Lives here: topology, messages, codec, identity, settings; the pure cores in `submission`, `ledger` and
`scheduling`; what runs a job in `containers`, `work` and `datasets`.
May import: the standard library and small libraries (orjson, fastavro, pydantic).
Only `containers` imports Docker, and nothing here imports Kafka, Faust or Elasticsearch, `agents` or `ops`.

One exception, for users' sake: the names of the client (docs/client.md) can be had from here. They are looked up in
`ops.client` when somebody asks for one, so that nothing of it is loaded otherwise; nobody inside the project does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops.client import (
        AsyncClient,
        Client,
        ClientError,
        Ending,
        Job,
        JobFailedError,
        MemoryBus,
        NotYetError,
    )

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Ending",
    "Job",
    "JobFailedError",
    "MemoryBus",
    "NotYetError",
]

#: The version that facts and statuses carry.
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("ops.client"), name)
