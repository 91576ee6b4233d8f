"""How the brokers and the schema registry are reached."""

from pathlib import Path

from pydantic import Field, SecretStr

from pipeline.settings.section import Section, secret


class KafkaSettings(Section):
    """How every agent reaches the brokers."""

    bootstrap: str = Field("127.0.0.1:29092", description="brokers, host:port with commas between")
    security: str = Field(
        "PLAINTEXT",
        pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$",
        description="PLAINTEXT, SSL (TLS alone), SASL_SSL (TLS and a password), SASL_PLAINTEXT",
    )
    ca_file: Path | None = Field(None, description="certificates that brokers' are checked by, PEM; none: the system's")
    certificate_file: Path | None = Field(None, description="the client's own certificate, PEM, where brokers want one")
    key_file: Path | None = Field(None, description="its private key, PEM")
    mechanism: str = Field(
        "SCRAM-SHA-512", pattern="^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$", description="of SASL, how the password shows"
    )
    user: str | None = Field(None, description="who this process is to the brokers")
    password: SecretStr | None = Field(None, description="the user's password; better in a file")
    password_file: Path | None = Field(None, description="file of the password, which only this process's user reads")
    submit_as: str | None = Field(
        None, description="of topics.principals: whose topic submissions go to; none: jobs.submit"
    )
    client: dict[str, str] = Field(default_factory=dict, description="further librdkafka settings; they win")
    registry_url: str | None = Field(None, description="Confluent-compatible schema registry; none: single-object Avro")
    registry_timeout: float = Field(5.0, gt=0, description="seconds that a call to the registry may take")

    def librdkafka(self) -> dict[str, str]:
        """Return the settings of librdkafka that these ask for, the password among them: never log or write them.

        Raises OSError where the password's file can't be read.
        """
        if self.security == "PLAINTEXT":
            return dict(self.client)
        found: dict[str, str | None] = {"security.protocol": self.security}
        if self.security.endswith("SSL"):
            found |= {
                "ssl.ca.location": _text(self.ca_file),
                "ssl.certificate.location": _text(self.certificate_file),
                "ssl.key.location": _text(self.key_file),
            }
        if self.security.startswith("SASL"):
            password = secret(self.password, self.password_file)
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": self.user, "sasl.password": password}
        return {name: value for name, value in found.items() if value is not None} | self.client


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
