"""A node as a secured cluster has it: TLS, users, API keys, and nothing for who shows none."""

import base64
import http.client
import json
import secrets
import shutil
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcrypt

from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.ports import LOOPBACK
from ops.embedded.progress import Reporter
from pipeline.settings import SinkSettings
from tests.certificates import Authority
from tests.integration.search_plugin import with_plugin

_SECURED = """\
xpack.security.enabled: true
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.key: node.key
xpack.security.http.ssl.certificate: node.pem
xpack.security.transport.ssl.enabled: false
xpack.security.authc.api_key.enabled: true
"""

#: where docs/security.md has what the sink's key may do
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- the sink's key -->\n```json\n", "\n```"
#: what it says that whoever reads needs
_ROLES = """\
reader:
  indices:
    - names: ["job_status*", "job_events*", "task_status*", "grq*"]
      privileges: [read, view_index_metadata, maintenance]
"""


class SecuredElasticsearch(EmbeddedElasticsearch):
    """`sink` are the settings of who reaches it as a user, `admin` or `reader`, or by a key that was made."""

    def __init__(self, home: Path, **options: Any) -> None:
        super().__init__(home, **options)
        self.authority = Authority(home / "certificates", "search tests")
        self._certificate, self._key = self.authority.certify("node")
        self._password = secrets.token_hex(8)
        self._password_file = home / "certificates" / "admin.password"
        self._password_file.write_text(f"{self._password}\n")
        self._hash = bcrypt.hashpw(self._password.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()

    def sink(self, **others: Any) -> SinkSettings:
        own = {"elasticsearch": self.endpoint or "", "ca_file": self.authority.file}
        return SinkSettings(**own | {"user": "reader", "password_file": self._password_file} | others)

    def make_key(self, file: Path) -> str:
        """Make an API key that may do what docs/security.md gives the sink; write it into a file, and return its id."""
        _, _, rest = DOCUMENT.read_text().partition(BEGIN)
        asked, _, _ = rest.partition(END)
        made = self._asked("POST", json.loads(asked))
        file.write_text(f"{made['encoded']}\n")
        file.chmod(0o600)
        return str(made["id"])

    def take_back(self, key: str) -> None:
        """Have an API key hold no more."""
        assert self._asked("DELETE", {"ids": [key]})["invalidated_api_keys"] == [key]

    def _asked(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = self._connection(self.ports["http"])
        # the first key's index is made by then
        connection.timeout = 60
        try:
            headers = self._headers() | {"Content-Type": "application/json"}
            connection.request(method, "/_security/api_key", json.dumps(body), headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        assert response.status == 200, answer
        return answer

    def _install(self, tell: Reporter | None) -> None:
        super()._install(tell)
        for left in ("distribution", "classes"):
            shutil.rmtree(self.folder / left, ignore_errors=True)
        self._distribution = with_plugin(self._distribution, self.folder)

    def _endpoint(self, ports: Mapping[str, int]) -> str:
        return f"https://{LOOPBACK}:{ports['http']}"

    def _configuration(self, ports: Mapping[str, int]) -> str:
        plain = super()._configuration(ports).replace("xpack.security.enabled: false\n", "")
        return plain + _SECURED

    def _further_files(self) -> Mapping[str, str]:
        return {
            "node.pem": self._certificate.read_text(),
            "node.key": self._key.read_text(),
            "users": "".join(f"{user}:{self._hash}\n" for user in ("admin", "reader")),
            "users_roles": "superuser:admin\nreader:reader\n",
            "roles.yml": _ROLES,
        }

    def _connection(self, port: int) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=self.authority.file)
        return http.client.HTTPSConnection(LOOPBACK, port, timeout=5, context=context)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(f'admin:{self._password}'.encode()).decode()}"}
