"""How clients are told to reach a secured cluster, and where passwords are not to be seen."""

import json
from pathlib import Path

import pytest

from agents.bus import client_config
from agents.faust_broker import credentials
from pipeline.settings import KafkaSettings, Settings

PASSWORD = "b7Kx-not-to-be-seen"


def secured(tmp_path: Path, **options: object) -> KafkaSettings:
    return KafkaSettings(security="SASL_SSL", ca_file=tmp_path / "ca.pem", user="worker", **options)


def test_a_plain_broker_needs_nothing() -> None:
    assert KafkaSettings().librdkafka() == {}


def test_tls_and_scram_are_told_to_librdkafka(tmp_path: Path) -> None:
    assert secured(tmp_path, password=PASSWORD).librdkafka() == {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "worker",
        "sasl.password": PASSWORD,
    }


def test_a_password_is_read_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    known = secured(tmp_path, password_file=tmp_path / "password")
    assert known.librdkafka()["sasl.password"] == PASSWORD
    assert PASSWORD not in json.dumps(known.plain())


def test_a_password_file_that_is_missing_is_an_error_and_no_empty_password(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        secured(tmp_path, password_file=tmp_path / "absent").librdkafka()


def test_a_client_s_own_certificate_is_told_without_any_password(tmp_path: Path) -> None:
    known = KafkaSettings(security="SSL", certificate_file=tmp_path / "c.pem", key_file=tmp_path / "c.key")
    assert known.librdkafka() == {
        "security.protocol": "SSL",
        "ssl.certificate.location": str(tmp_path / "c.pem"),
        "ssl.key.location": str(tmp_path / "c.key"),
    }


def test_settings_of_librdkafka_by_name_win(tmp_path: Path) -> None:
    known = secured(tmp_path, password=PASSWORD, client={"sasl.username": "other"})
    assert known.librdkafka()["sasl.username"] == "other"


def test_confluent_s_and_faust_s_clients_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.certificates import Authority

    Authority(tmp_path)
    settings = Settings(kafka=secured(tmp_path, password=PASSWORD))
    assert client_config(settings, "one")["sasl.password"] == PASSWORD
    made = credentials(settings.kafka.librdkafka())
    assert (made.username, made.password, made.mechanism.value) == ("worker", PASSWORD, "SCRAM-SHA-512")
    assert len(made.ssl_context.get_ca_certs()) == 1


def test_settings_never_show_a_password(tmp_path: Path) -> None:
    settings = Settings(kafka=secured(tmp_path, password=PASSWORD), token_key="k3y-not-to-be-seen")
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {settings.kafka.model_dump()}"
    assert PASSWORD not in shown
    assert "k3y" not in shown


def test_an_agent_that_is_started_gets_the_password_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Settings(home=tmp_path, kafka=secured(tmp_path, password=PASSWORD))
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().kafka == given.kafka
