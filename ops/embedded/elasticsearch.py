"""An embedded Elasticsearch node on loopback, from the archive that its makers publish for integration tests.

That archive has the server without most modules: no `GET /`, no scripts, no ingest, no by-query calls.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.embedded import process
from ops.embedded.fetch import require_disk
from ops.embedded.filelock import file_lock
from ops.embedded.java import SMALL, environment, heap_flags, java_home
from ops.embedded.ports import LOOPBACK
from ops.embedded.progress import Reporter
from ops.embedded.server import EmbeddedServer, Port
from ops.embedded.unprivileged import account, make_public, open_to_all, public_copy, public_place

#: seconds that one readiness question may take
_ASK_TIMEOUT = 2.0
#: seconds to wait for another process that is unpacking the archive
_UNPACK_TIMEOUT = 120.0

_CONFIGURATION = """\
cluster.name: jobstream
node.name: embedded
discovery.type: single-node
network.host: {host}
http.port: {http}
transport.port: {transport}
path.data: {folder}/data
path.logs: {folder}/logs
xpack.security.enabled: false
cluster.routing.allocation.disk.threshold_enabled: false
"""

_JVM = """\
{mark}
-Xms128m
{heap}
{small}
-XX:-AlwaysPreTouch
-Djava.io.tmpdir=${{ES_TMPDIR}}
-XX:ErrorFile={folder}/logs/hs_err_pid%p.log
-XX:CompileCommand=dontinline,java/lang/invoke/MethodHandle.setAsTypeCache
-XX:CompileCommand=dontinline,java/lang/invoke/MethodHandle.asTypeUncached
-Dorg.apache.lucene.store.defaultReadAdvice=normal
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
"""

_LOG4J = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=${sys:es.logs.base_path}/elasticsearch.log
appender.file.filePattern=${sys:es.logs.base_path}/elasticsearch.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{ISO8601} %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=8MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=3
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


class EmbeddedElasticsearch(EmbeddedServer):
    """An Elasticsearch node with its data in `home`/elasticsearch; its endpoint is a URL.

    `port` (HTTP) and `transport_port` are loopback ports, None or 0 for any free ones; `heap_mib` bounds the JVM's heap
    in MiB; `cache` is the folder of downloads. Elasticsearch refuses to run as root: started by root it runs as
    `nobody`, and where `home` is closed to that user its folder lies below /var/lib/jobstream instead (see `folder`).
    """

    name = "elasticsearch"

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        transport_port: int | None = None,
        *,
        cache: Path | None = None,
        heap_mib: int = 512,
        start_timeout: float = 180.0,
    ) -> None:
        ports = {
            "http": Port("Elasticsearch HTTP", port, "JOBSTREAM_EMBEDDED__ELASTICSEARCH_PORT"),
            "transport": Port("Elasticsearch transport", transport_port, "JOBSTREAM_EMBEDDED__TRANSPORT_PORT"),
        }
        super().__init__(home, ports, heap_mib, cache, start_timeout)
        self._distribution = Path()

    @property
    def log_file(self) -> Path:
        """The node's log."""
        return self.folder / "logs" / "elasticsearch.log"

    def _place(self, folder: Path) -> Path:
        return public_place(folder)

    def _endpoint(self, ports: Mapping[str, int]) -> str:
        return f"http://{LOOPBACK}:{ports['http']}"

    def _install(self, tell: Reporter | None) -> None:
        (archive,) = self._artifacts(tell)
        self._distribution = self._unpack(archive)
        make_public(self.folder)

    def _unpack(self, archive: Path) -> Path:
        """Return the folder of the unpacked archive, unpacking it on the first call; it is never written again."""
        target = public_place(self.store.cache / "unpacked" / archive.stem)
        if target.exists():
            return target
        with file_lock(self.store.cache / "unpack.lock", _UNPACK_TIMEOUT, "unpacking Elasticsearch"):
            if not target.exists():
                partial = target.with_name(f"{target.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                with zipfile.ZipFile(archive) as files:
                    require_disk(target, sum(one.file_size for one in files.infolist()), "unpacking Elasticsearch")
                    make_public(partial)
                    files.extractall(partial)
                open_to_all(partial)
                (partial / archive.stem).rename(target)
                partial.rmdir()
        return target

    def _launch(self, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
        self._configure(ports)
        java = public_copy(java_home())
        user = account()
        with self._output_file.open("wb") as output:
            return subprocess.Popen(
                self._command(java),
                # the launcher looks for its modules here
                cwd=self._distribution,
                env=self._environment(java),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )

    def _command(self, java: Path) -> list[str]:
        """Return what the archive's own shell script would execute, with our mark.

        As a daemon the launcher ends as soon as its server is up, which saves its memory.
        """
        home = self._distribution
        return [
            str(java / "bin" / "java"),
            process.mark(self.folder),
            "-Xms4m",
            "-Xmx64m",
            *SMALL,
            "-Dcli.name=server",
            f"-Dcli.script={home}/bin/elasticsearch",
            "-Dcli.libs=lib/tools/server-cli",
            f"-Des.path.home={home}",
            f"-Des.path.conf={self.folder}/config",
            "-Des.distribution.type=zip",
            "-Des.java.type=ES_JAVA_HOME",
            "-cp",
            f"{home}/lib/*:{home}/lib/cli-launcher/*",
            "org.elasticsearch.launcher.CliToolLauncher",
            "--daemonize",
        ]

    def _environment(self, java: Path) -> dict[str, str]:
        return {
            **environment(without=("ES_JAVA_OPTS", "CLI_JAVA_OPTS")),
            "ES_JAVA_HOME": str(java),
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_TMPDIR": str(self.folder / "tmp"),
            "HOME": str(self.folder / "tmp"),
            "HOSTNAME": "localhost",
        }

    def _configure(self, ports: Mapping[str, int]) -> None:
        """Write the configuration anew and give the server's user its own folders, and nothing above them."""
        config = self.folder / "config"
        shutil.rmtree(config, ignore_errors=True)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        config.mkdir()
        values = {"folder": self.folder, "mark": process.mark(self.folder)}
        flags = {"heap": "\n".join(heap_flags(self.heap_mib)), "small": "\n".join(SMALL)}
        files = {
            "elasticsearch.yml": self._configuration(ports),
            "jvm.options": _JVM.format(**values, **flags),
            "log4j2.properties": _LOG4J,
            **self._further_files(),
        }
        for name, text in files.items():
            (config / name).write_text(text)
            (config / name).chmod(0o644)
        for name in ("data", "logs", "tmp"):
            with contextlib.suppress(FileExistsError):
                (self.folder / name).mkdir(mode=0o755)
        self._hand_over(config, *config.iterdir(), *(self.folder / name for name in ("data", "logs", "tmp")))

    def _configuration(self, ports: Mapping[str, int]) -> str:
        """Return the node's settings."""
        return _CONFIGURATION.format(host=LOOPBACK, folder=self.folder, **ports)

    def _further_files(self) -> Mapping[str, str]:
        """Return what else lies in the folder of the configuration."""
        return {}

    @staticmethod
    def _hand_over(*paths: Path) -> None:
        user = account()
        for path in paths if user else ():
            assert user is not None
            # never through a link: these folders belong to an unprivileged user
            os.chown(path, user.uid, user.gid, follow_symlinks=False)

    def _answers(self, ports: Mapping[str, int]) -> bool:
        """Ask for the node's pid, which must carry our mark, and for a health of yellow or green."""
        nodes = self._get(ports["http"], "/_nodes/_local/process").get("nodes", {})
        pids = [node.get("process", {}).get("id") for node in nodes.values()]
        if not any(isinstance(pid, int) and process.marked(pid, self.folder) for pid in pids):
            return False
        return self._get(ports["http"], "/_cluster/health").get("status") in ("yellow", "green")

    def _connection(self, port: int) -> http.client.HTTPConnection:
        """Return a connection of our own, which goes past any proxy that is set for HTTP."""
        return http.client.HTTPConnection(LOOPBACK, port, timeout=_ASK_TIMEOUT)

    def _headers(self) -> dict[str, str]:
        """Return what says who asks."""
        return {}

    def _get(self, port: int, path: str) -> dict[str, Any]:
        """Return a JSON answer; an empty one where nobody answers."""
        connection = self._connection(port)
        try:
            connection.request("GET", path, headers=self._headers())
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()
        return answer if isinstance(answer, dict) else {}
