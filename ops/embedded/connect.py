"""An embedded Kafka Connect worker, on loopback: for trying sources, and for tests of those in `ops/connect`."""

import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.embedded.artifacts import of_server
from ops.embedded.errors import EmbeddedError
from ops.embedded.java import SMALL, environment, heap_flags, java_home
from ops.embedded.ports import LOOPBACK
from ops.embedded.process import mark
from ops.embedded.progress import Reporter
from ops.embedded.server import EmbeddedServer, Port

#: the worker's configuration that operators begin with; what depends on the place is put over it
PROPERTIES = Path(__file__).parent.parent / "connect" / "worker.properties"
#: the artifacts that are plug-ins, each in a folder of its own
PLUGINS = ("connect-avro", "connect-postgres")
#: what a plug-in must not bring, since it is the worker's
_WORKERS_OWN = frozenset({"connect-api", "connect-json", "kafka-clients", "slf4j-api"})
#: plug-ins that don't say what they have, and what that is
_UNSAID = {
    "connect-avro": ("org.apache.kafka.connect.storage.Converter", "io.apicurio.registry.utils.converter.AvroConverter")
}
#: seconds that a question to the worker may take
_ASK_TIMEOUT = 30.0
#: seconds until a worker that is busy is asked again
_PAUSE = 0.5

_LOG4J = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
"""


class EmbeddedConnect(EmbeddedServer):
    """A Connect worker of one; its endpoint is the URL of its REST API. Its offsets and connectors are in Kafka.

    `bootstrap` says which brokers. `properties` go over those of `ops/connect/worker.properties`. `port` is a loopback
    port, None or 0 for any free one; `heap_mib` bounds the JVM's heap in MiB; `cache` is the folder of downloads;
    `secrets` are variables that connectors may name, JOBSTREAM_CONNECT_… .
    """

    name = "connect"

    def __init__(
        self,
        home: Path,
        bootstrap: str,
        port: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        cache: Path | None = None,
        heap_mib: int = 320,
        start_timeout: float = 120.0,
    ) -> None:
        ports = {"http": Port("Connect's REST API", port, "the port it was given")}
        super().__init__(home, ports, heap_mib, cache, start_timeout)
        self._bootstrap = bootstrap
        self._properties = dict(properties or {})
        self._secrets = dict(secrets or {})
        self._jars: list[Path] = []

    @property
    def log_file(self) -> Path:
        """The worker's warnings and errors, since its last start."""
        return self._output_file

    def _endpoint(self, ports: Mapping[str, int]) -> str:
        return f"http://{LOOPBACK}:{ports['http']}"

    def _install(self, tell: Reporter | None) -> None:
        self._jars = self._artifacts(tell)
        for plugin in PLUGINS:
            self._plug(plugin, self.store.ensure(of_server(plugin), plugin, tell))

    def _plug(self, plugin: str, jars: Sequence[Path]) -> None:
        """Put a plug-in's jars into a folder of its own, without those that are the worker's."""
        folder = self.folder / "plugins" / plugin
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for jar, artifact in zip(jars, of_server(plugin), strict=True):
            if artifact.name not in _WORKERS_OWN:
                _link(jar, folder / jar.name)
        if plugin in _UNSAID:
            service, implementation = _UNSAID[plugin]
            with zipfile.ZipFile(folder / "manifest.jar", "w") as said:
                said.writestr(f"META-INF/services/{service}", f"{implementation}\n")

    def _launch(self, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
        (self.folder / "log4j2.properties").write_text(_LOG4J)
        command = [
            str(java_home() / "bin" / "java"),
            mark(self.folder),
            *heap_flags(self.heap_mib),
            *SMALL,
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            ":".join(map(str, self._jars)),
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(self._configure(ports)),
        ]
        with self._output_file.open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment() | self._secrets,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _configure(self, ports: Mapping[str, int]) -> Path:
        here = {
            "bootstrap.servers": self._bootstrap,
            "plugin.path": str(self.folder / "plugins"),
            "listeners": self._endpoint(ports),
            "rest.advertised.host.name": LOOPBACK,
            **self._properties,
        }
        # of a property that stands twice the last one counts
        lines = [PROPERTIES.read_text(), *(f"{name}={value}" for name, value in here.items())]
        path = self.folder / "worker.properties"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _answers(self, ports: Mapping[str, int]) -> bool:
        status, answer = self.ask("GET", "/connectors", ports=ports)
        return status == 200 and isinstance(answer, list)

    # -- connectors

    def configure(self, name: str, config: Mapping[str, str]) -> None:
        """Have a connector with this configuration; raises EmbeddedError where the worker refuses it, or never answers.

        A worker that is joining its group refuses everything for a moment, and then takes it: it is asked again.
        """
        deadline = time.monotonic() + self.start_timeout
        while True:
            status, answer = self.ask("PUT", f"/connectors/{name}/config", dict(config))
            if status in (200, 201):
                return
            if status not in (0, 409) or time.monotonic() > deadline:
                told = f"is refused with {status}: {answer}" if status else "gets no answer"
                raise EmbeddedError(f"connector {name} {told}; the worker's log: {self.log_file}")
            time.sleep(_PAUSE)

    def states(self, name: str) -> list[str]:
        """Return the states of the connector and of its tasks, RUNNING where all is well; none while it isn't known."""
        status, answer = self.ask("GET", f"/connectors/{name}/status")
        if status != 200:
            return []
        return [answer["connector"]["state"], *(task["state"] for task in answer["tasks"])]

    def ask(
        self, method: str, path: str, body: object = None, ports: Mapping[str, int] | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of an answer of the REST API; (0, None) where nobody answers."""
        import urllib3

        url = f"{self._endpoint(ports or self.ports)}{path}"
        try:
            answer = urllib3.request(method, url, json=body, timeout=_ASK_TIMEOUT, retries=False)
            return answer.status, answer.json() if answer.data else None
        except (urllib3.exceptions.HTTPError, ValueError):
            return 0, None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # another file system
        shutil.copyfile(source, target)
