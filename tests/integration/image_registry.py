"""A real registry of images on loopback (Debian's docker-registry), for one test."""

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.embedded.ports import free_port
from tests.conftest import unavailable
from tests.waiting import until

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Its address; skips where the program isn't there, and fails in CI."""
    program = shutil.which("docker-registry")
    if program is None:
        unavailable("no registry to pull from: apt-get install docker-registry")
    port = free_port()
    (folder / "registry.yml").write_text(CONFIG.format(data=folder / "registry", port=port))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "registry.yml"], stdout=log, stderr=log)
    try:
        until(lambda: _answers(port), what=(folder / "registry.log").read_text)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
