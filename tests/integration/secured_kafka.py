"""A broker as a secured cluster has it: TLS, SCRAM, the standard authorizer, and nobody allowed anything by default."""

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.ports import LOOPBACK
from pipeline.rights import Role
from pipeline.settings import KafkaSettings
from tests.certificates import Authority

#: the user that may do all: makes topics and hands out rights
ADMIN = "admin"
#: users that submit by topics of their own
ALICE, BOB = "alice", "bob"
#: a worker of an installation that seals its grants
SEALED = "sealed-worker"
_BROKER = "broker"

_SECURED = """
listeners=CLIENTS://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENTS://{host}:{broker}
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=CLIENTS
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{user}" password="{password}";
listener.name.controller.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:admin;User:broker;User:CN=broker
"""


class SecuredKafka(EmbeddedKafka):
    """Each role's name and ALICE and BOB may log in, and may do nothing until they get rights.

    `kafka(user)` are a client's settings.
    """

    def __init__(self, home: Path, **options: Any) -> None:
        super().__init__(home, **options)
        self.authority = Authority(home / "certificates")
        users = (ADMIN, _BROKER, ALICE, BOB, SEALED, *(role.value for role in Role))
        self._passwords = {user: secrets.token_hex(8) for user in users}
        certificate, key = self.authority.certify(_BROKER)
        self._keystore = home / "certificates" / "keystore.pem"
        self._keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
        for user, password in self._passwords.items():
            self.password_file(user).write_text(f"{password}\n")
            self.password_file(user).chmod(0o600)

    def password(self, user: str) -> str:
        return self._passwords[user]

    def password_file(self, user: str) -> Path:
        return self.home / "certificates" / f"{user}.password"

    def kafka(self, user: str) -> KafkaSettings:
        """The settings with which `user` reaches the broker."""
        return KafkaSettings(
            bootstrap=self.endpoint or "",
            security="SASL_SSL",
            ca_file=self.authority.file,
            user=user,
            password_file=self.password_file(user),
        )

    def denials(self) -> set[str]:
        """What the authorizer refused so far: principal, operation and resource."""
        found = re.findall(r"Principal = (\S+) is Denied operation = (\S+) from .*? on resource = (\S+)", self.log())
        return {" ".join(words) for words in found}

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def _logging(self) -> str:
        return f"{super()._logging()}logger.rights.name=kafka.authorizer.logger\nlogger.rights.level=INFO\n"

    def _properties(self, ports: Mapping[str, int]) -> str:
        own = _SECURED.format(
            host=LOOPBACK,
            user=_BROKER,
            password=self._passwords[_BROKER],
            keystore=self._keystore,
            truststore=self.authority.file,
            **ports,
        )
        changed = {line.partition("=")[0] for line in own.splitlines() if line}
        kept = [line for line in super()._properties(ports).splitlines() if line.partition("=")[0] not in changed]
        return "\n".join(kept) + own

    def _format_options(self) -> list[str]:
        return [
            word
            for user, password in self._passwords.items()
            for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
        ]

    def _client(self) -> dict[str, str]:
        return self.kafka(ADMIN).librdkafka()
