"""An embedded Kafka broker: one KRaft node, broker and controller, on loopback."""

import base64
import socket
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from ops.embedded.artifacts import of_server
from ops.embedded.errors import EmbeddedError
from ops.embedded.java import SMALL, environment, heap_flags, java_home
from ops.embedded.ports import LOOPBACK
from ops.embedded.process import mark
from ops.embedded.progress import Reporter
from ops.embedded.server import EmbeddedServer, Port

#: bytes of the largest record batch: a submission's 256 KiB limit leaves room for jobs.dead, which wraps it
MESSAGE_MAX_BYTES = 2 * 1024 * 1024
#: seconds that one readiness question may take
_ASK_TIMEOUT = 2.0
#: the artifacts of each release that can be run: what an installation gets, and the oldest that all of it is tried with
NEWEST = "4.3"
RELEASES = {NEWEST: "kafka", "3.9": "kafka-3.9"}

_LOG4J = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=8MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=3
rootLogger.level=WARN
rootLogger.appenderRef.file.ref=file
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=INFO
logger.cleaner.name=org.apache.kafka.storage.internals.log.LogCleaner
logger.cleaner.level=WARN
"""

#: for releases that log by log4j 1
_LOG4J_1 = """\
log4j.rootLogger=WARN, file
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.appender.file=org.apache.log4j.RollingFileAppender
log4j.appender.file.File={log}
log4j.appender.file.MaxFileSize=8MB
log4j.appender.file.MaxBackupIndex=3
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d{{ISO8601}} %p %m (%c)%n
"""

_SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes={message_max}
replica.fetch.max.bytes={message_max}
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.share.max.record.lock.duration.ms=600000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""


class EmbeddedKafka(EmbeddedServer):
    """A Kafka broker with its data in `home`/kafka; its endpoint is a bootstrap string.

    `port` and `controller_port` are loopback ports, None or 0 for any free ones; `heap_mib` bounds the JVM's heap in
    MiB; `cache` is the folder of downloads; `release` is one of RELEASES. The broker listens on 127.0.0.1 only and
    creates no topic by itself.
    """

    name = "kafka"

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        controller_port: int | None = None,
        *,
        cache: Path | None = None,
        heap_mib: int = 512,
        start_timeout: float = 90.0,
        release: str = NEWEST,
    ) -> None:
        ports = {
            "broker": Port("Kafka broker", port, "JOBSTREAM_EMBEDDED__KAFKA_PORT"),
            "controller": Port("Kafka controller", controller_port, "JOBSTREAM_EMBEDDED__CONTROLLER_PORT"),
        }
        super().__init__(home, ports, heap_mib, cache, start_timeout)
        self._jars: list[Path] = []
        self._release = release

    @property
    def log_file(self) -> Path:
        """The broker's log: warnings, and when it started and stopped."""
        return self.folder / "kafka.log"

    @property
    def cluster_id(self) -> str | None:
        """The identity of the data in the folder; None before the first start."""
        try:
            lines = (self.folder / "data" / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return None
        return next((line.partition("=")[2].strip() for line in lines if line.startswith("cluster.id=")), None)

    def _endpoint(self, ports: Mapping[str, int]) -> str:
        return f"{LOOPBACK}:{ports['broker']}"

    def _install(self, tell: Reporter | None) -> None:
        server = RELEASES[self._release]
        self._jars = self.store.ensure(of_server(server), server, tell)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _launch(self, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
        properties = self._configure(ports)
        if self.cluster_id is None:
            self._format(properties)
        command = [*self._java(self.heap_mib), "kafka.Kafka", str(properties)]
        with self._output_file.open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _configure(self, ports: Mapping[str, int]) -> Path:
        (self.folder / "log4j2.properties").write_text(self._logging())
        (self.folder / "log4j.properties").write_text(_LOG4J_1.format(log=self.log_file))
        properties = self.folder / "server.properties"
        properties.write_text(self._properties(ports))
        return properties

    def _logging(self) -> str:
        """Return what the broker logs, and where."""
        return _LOG4J.format(log=self.log_file)

    def _properties(self, ports: Mapping[str, int]) -> str:
        """Return the broker's settings; of a name that comes twice the last counts."""
        return _SERVER.format(host=LOOPBACK, data=self.folder / "data", message_max=MESSAGE_MAX_BYTES, **ports)

    def _format_options(self) -> list[str]:
        """Return what else the data is formatted with."""
        return []

    def _client(self) -> dict[str, str]:
        """Return what a client needs beside the address."""
        return {}

    def _java(self, heap_mib: int) -> list[str]:
        return [
            str(java_home() / "bin" / "java"),
            mark(self.folder),
            *heap_flags(heap_mib),
            *SMALL,
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            f"-Dlog4j.configuration=file:{self.folder / 'log4j.properties'}",
            "-cp",
            ":".join(map(str, self._jars)),
        ]

    def _format(self, properties: Path) -> None:
        """Give the data folder its identity; the tool writes meta.properties last, so a half-done one is repeated."""
        options = ["--ignore-formatted", "-t", fresh_id(), "-c", str(properties), *self._format_options()]
        tool = ["kafka.tools.StorageTool", "format", *options]
        done = subprocess.run(
            [*self._java(128), *tool],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0 or self.cluster_id is None:
            raise EmbeddedError(
                f"Kafka's storage could not be formatted: {(done.stdout + done.stderr).strip()[-1500:]}"
            )

    def _answers(self, ports: Mapping[str, int]) -> bool:
        """Ask for metadata, and compare the cluster id: somebody else's broker on this port is not ours."""
        from confluent_kafka import KafkaException

        from agents.admin_client import admin_client, forget
        from agents.bounded import bounded

        try:
            socket.create_connection((LOOPBACK, ports["broker"]), timeout=_ASK_TIMEOUT).close()
        except OSError:
            return False
        address = {"bootstrap.servers": self._endpoint(ports), "reconnect.backoff.max.ms": 1000}
        admin = admin_client(address | self._client())
        try:
            metadata = bounded(lambda: admin.list_topics(timeout=_ASK_TIMEOUT), _ASK_TIMEOUT)
        except TimeoutError:
            forget(admin)
            return False
        except KafkaException:
            return False
        return bool(metadata.cluster_id == self.cluster_id and metadata.brokers)


def fresh_id() -> str:
    """Return a cluster id as Kafka makes them: 16 random bytes, no hyphen first, which would look like an option."""
    first, *rest = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")
