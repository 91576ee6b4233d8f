"""The settings of a Kafka client as Faust spells them."""

import ssl
from collections.abc import Mapping

import faust
from faust.types.auth import CredentialsT

_SASL = frozenset({"SASL_PLAINTEXT", "SASL_SSL"})
_TLS = frozenset({"SSL", "SASL_SSL"})


def broker_urls(bootstrap: str) -> list[str]:
    """Return the brokers of `host:port,host:port` as Faust's URLs."""
    return [f"kafka://{address.strip()}" for address in bootstrap.split(",") if address.strip()]


def credentials(client: Mapping[str, str]) -> CredentialsT | None:
    """Return Faust's credentials for librdkafka's settings, None where they ask for a plain connection.

    Knows `security.protocol`, `sasl.mechanism(s)` (PLAIN, SCRAM), `sasl.username`, `sasl.password`,
    `ssl.ca.location`, `ssl.certificate.location`, `ssl.key.location`, `ssl.key.password`. Raises ValueError for a
    protocol or mechanism that isn't among them, OSError for files that can't be read.
    """
    protocol = client.get("security.protocol", "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return None
    if protocol not in _SASL | _TLS:
        raise ValueError(f"kafka.client: security.protocol {protocol} is not known")
    context = _tls(client) if protocol in _TLS else None
    if protocol == "SSL":
        return faust.SSLCredentials(context=context)
    mechanism = client.get("sasl.mechanism") or client.get("sasl.mechanisms") or "PLAIN"
    if mechanism not in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
        raise ValueError(f"kafka.client: sasl.mechanism {mechanism} is not supported by the Faust agents")
    return faust.SASLCredentials(
        username=client.get("sasl.username"),
        password=client.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _tls(client: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=client.get("ssl.ca.location"))
    certificate = client.get("ssl.certificate.location")
    if certificate:
        context.load_cert_chain(certificate, client.get("ssl.key.location"), client.get("ssl.key.password"))
    return context
