"""An embedded schema registry: Apicurio with its Confluent API, on loopback, its schemas in memory."""

import http.client
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from ops.embedded.errors import EmbeddedError
from ops.embedded.fetch import require_disk
from ops.embedded.filelock import file_lock
from ops.embedded.java import SMALL, environment, heap_flags, java_home
from ops.embedded.ports import LOOPBACK
from ops.embedded.process import mark
from ops.embedded.progress import Reporter
from ops.embedded.server import EmbeddedServer, Port

#: seconds that one readiness question may take, and that another process may take to unpack
_ASK_TIMEOUT, _UNPACK_TIMEOUT = 2.0, 120.0
#: what the archive's files take unpacked, in bytes
_UNPACKED = 192 << 20
#: path of the Confluent API
_API = "/apis/ccompat/v7"


class EmbeddedRegistry(EmbeddedServer):
    """A schema registry; its endpoint is the URL of its Confluent API. What it knows ends with it.

    Schemas must be backward compatible within a subject, as Confluent's own registry has it by default. `port` is a
    loopback port, None or 0 for any free one; `heap_mib` bounds the JVM's heap in MiB; `cache` is the folder of
    downloads. For tests and development: an installation's registry must keep what it was told.
    """

    name = "registry"

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        *,
        cache: Path | None = None,
        heap_mib: int = 256,
        start_timeout: float = 90.0,
    ) -> None:
        ports = {"http": Port("schema registry", port, "the port it was given")}
        super().__init__(home, ports, heap_mib, cache, start_timeout)
        self._distribution = Path()

    @property
    def log_file(self) -> Path:
        """What the registry prints; it says little."""
        return self._output_file

    def start(self, tell: Reporter | None = None) -> str:
        """Start it like any server, and have it refuse schemas that can't read what was written before."""
        endpoint = super().start(tell)
        status, _ = _ask("PUT", self.ports["http"], f"{_API}/config", {"compatibility": "BACKWARD"})
        if status != 200:
            self.stop()
            raise EmbeddedError(
                f"the schema registry refused its configuration with {status}; its log: {self.log_file}"
            )
        return endpoint

    def _endpoint(self, ports: Mapping[str, int]) -> str:
        return f"http://{LOOPBACK}:{ports['http']}{_API}"

    def _install(self, tell: Reporter | None) -> None:
        (archive,) = self._artifacts(tell)
        self._distribution = self._unpack(archive)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _unpack(self, archive: Path) -> Path:
        """Return the folder of the unpacked archive, unpacking it on the first call."""
        target = self.store.cache / "unpacked" / archive.name.removesuffix(".tar.gz")
        if target.exists():
            return target
        with file_lock(self.store.cache / "unpack.lock", _UNPACK_TIMEOUT, "unpacking the schema registry"):
            if not target.exists():
                partial = target.with_name(f"{target.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                require_disk(target, _UNPACKED, "unpacking the schema registry")
                with tarfile.open(archive) as files:
                    files.extractall(partial, filter="data")
                partial.rename(target)
        return target

    def _launch(self, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
        (runner,) = self._distribution.glob("*-runner.jar")
        command = [
            str(java_home() / "bin" / "java"),
            mark(self.folder),
            *heap_flags(self.heap_mib),
            *SMALL,
            f"-Djava.io.tmpdir={self.folder}",
            f"-Dquarkus.http.host={LOOPBACK}",
            f"-Dquarkus.http.port={ports['http']}",
            "-jar",
            str(runner),
        ]
        with self._output_file.open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                # settings by environment would be somebody else's
                env={name: value for name, value in environment().items() if not name.startswith("QUARKUS_")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self, ports: Mapping[str, int]) -> bool:
        status, answer = _ask("GET", ports["http"], f"{_API}/subjects")
        return status == 200 and isinstance(answer, list)


def _ask(method: str, port: int, path: str, body: object = None) -> tuple[int, object]:
    """Return status and JSON of an answer; (0, None) where nobody answers. Goes past any proxy that is set for HTTP."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ASK_TIMEOUT)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
    finally:
        connection.close()
