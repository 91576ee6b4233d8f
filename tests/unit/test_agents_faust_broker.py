"""Kafka client settings as Faust's."""

import ssl

import pytest

from agents.faust_broker import broker_urls, credentials


def test_brokers_are_urls() -> None:
    assert broker_urls("a:1, b:2") == ["kafka://a:1", "kafka://b:2"]


def test_a_plain_connection_has_no_credentials() -> None:
    assert credentials({}) is None


def test_sasl_over_tls_verifies_the_broker() -> None:
    made = credentials(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "u",
            "sasl.password": "p",
        }
    )
    assert (made.protocol.value, made.mechanism.value, made.username, made.password) == (
        "SASL_SSL",
        "SCRAM-SHA-512",
        "u",
        "p",
    )
    assert made.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert made.ssl_context.check_hostname


@pytest.mark.parametrize(
    "client", [{"security.protocol": "QUANTUM"}, {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}]
)
def test_what_is_not_known_is_refused_rather_than_left_out(client: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"kafka\.client"):
        credentials(client)
