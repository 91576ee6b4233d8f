"""Every setting of jobstream, with its unit and its default.

Sources, the first wins: `JOBSTREAM_*` environment variables (`JOBSTREAM_WORKER__SLOTS=8`), the TOML file that
`JOBSTREAM_CONFIG` names (by default `jobstream.toml` in the current folder), and `HOME/cluster.toml`, in which
`jobstream up` says where it started the servers.

A file a section; `settings` joins them. Imports nothing else of the project but `pipeline.topology` and
`pipeline.retry_rules`.
"""

from pipeline.settings.embedded import EmbeddedSettings
from pipeline.settings.gate import GateSettings
from pipeline.settings.images import ImageSettings
from pipeline.settings.inputs import InputSettings
from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.ledger import LedgerSettings
from pipeline.settings.scheduler import SchedulerSettings
from pipeline.settings.security import SecuritySettings
from pipeline.settings.settings import CLUSTER_FILE, Settings
from pipeline.settings.sink import SinkSettings
from pipeline.settings.tasks import TaskSettings
from pipeline.settings.topics import TopicSettings
from pipeline.settings.worker import WorkerSettings

__all__ = [
    "CLUSTER_FILE",
    "EmbeddedSettings",
    "GateSettings",
    "ImageSettings",
    "InputSettings",
    "KafkaSettings",
    "LedgerSettings",
    "SchedulerSettings",
    "SecuritySettings",
    "Settings",
    "SinkSettings",
    "TaskSettings",
    "TopicSettings",
    "WorkerSettings",
]
