"""A node as a secured cluster has it: TLS, users, API keys, and nothing for who shows none."""

import base64
import http.client
import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcrypt

from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.ports import LOOPBACK
from pipeline.settings import SinkSettings
from tests.certificates import Authority

_SECURED = """\
xpack.security.enabled: true
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.key: node.key
xpack.security.http.ssl.certificate: node.pem
xpack.security.transport.ssl.enabled: false
xpack.security.authc.api_key.enabled: true
"""

#: what docs/security.md says that they need
_ROLES = """\
sink:
  cluster: [manage_index_templates, monitor]
  indices:
    - names: ["job_status*", "job_events*", "task_status*", "grq*"]
      privileges: [create_index, write, read, manage]
reader:
  indices:
    - names: ["job_status*", "job_events*", "task_status*", "grq*"]
      privileges: [read, view_index_metadata, maintenance]
"""


class SecuredElasticsearch(EmbeddedElasticsearch):
    """`sink` are the settings of who reaches it as a user: `admin`, `sink` or `reader`.

    It can check API keys and make none: the index of keys needs a filter that this distribution lacks.
    """

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
        return SinkSettings(**own | {"user": "sink", "password_file": self._password_file} | others)

    def _endpoint(self, ports: Mapping[str, int]) -> str:
        return f"https://{LOOPBACK}:{ports['http']}"

    def _configuration(self, ports: Mapping[str, int]) -> str:
        plain = super()._configuration(ports).replace("xpack.security.enabled: false\n", "")
        return plain + _SECURED

    def _further_files(self) -> Mapping[str, str]:
        return {
            "node.pem": self._certificate.read_text(),
            "node.key": self._key.read_text(),
            "users": "".join(f"{user}:{self._hash}\n" for user in ("admin", "sink", "reader")),
            "users_roles": "superuser:admin\nsink:sink\nreader:reader\n",
            "roles.yml": _ROLES,
        }

    def _connection(self, port: int) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=self.authority.file)
        return http.client.HTTPSConnection(LOOPBACK, port, timeout=5, context=context)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(f'admin:{self._password}'.encode()).decode()}"}
