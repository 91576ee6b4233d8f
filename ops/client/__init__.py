"""The Python client: `from pipeline import Client, AsyncClient`; docs/client.md.

`client` and `async_client` are its two faces, `bus` is the seam below, and `kafka_bus` and `memory_bus` what there is
of it. May import: `agents`, `pipeline`, and of `ops` what submits, asks and reads; no command line.
"""

from ops.client.async_client import AsyncClient, AsyncHandle, AsyncWatch
from ops.client.bulk import Sent
from ops.client.bus import Bus
from ops.client.client import Client
from ops.client.errors import (
    ClientError,
    ClosedError,
    InvalidSubmissionError,
    JobFailedError,
    JobRevokedError,
    NotAllStoredError,
    NotStoredError,
    NotYetError,
    RefusedError,
    UnknownJobError,
    UnreachableError,
)
from ops.client.handle import Handle
from ops.client.job import Job
from ops.client.memory_bus import Ending, MemoryBus
from ops.client.output import Output
from ops.client.submissions import Options
from ops.client.watch import Watch

__all__ = [
    "AsyncClient",
    "AsyncHandle",
    "AsyncWatch",
    "Bus",
    "Client",
    "ClientError",
    "ClosedError",
    "Ending",
    "Handle",
    "InvalidSubmissionError",
    "Job",
    "JobFailedError",
    "JobRevokedError",
    "MemoryBus",
    "NotAllStoredError",
    "NotStoredError",
    "NotYetError",
    "Options",
    "Output",
    "RefusedError",
    "Sent",
    "UnknownJobError",
    "UnreachableError",
    "Watch",
]
