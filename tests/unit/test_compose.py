"""compose.yaml and Dockerfile: what can be said of them without an engine."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AGENTS = {name: one for name, one in SERVICES.items() if one["image"].startswith("jobstream:")}


def of(services: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("service", services.values(), ids=services)


def test_every_server_and_every_agent_is_there() -> None:
    servers = {"kafka", "elasticsearch", "registry", "console"}
    assert set(SERVICES) == servers | {"topics", "orchestrator", "scheduler", "worker", "sink"}
    assert set(SERVICES) - set(AGENTS) == servers


def valid(file: Path) -> "subprocess.CompletedProcess[str]":
    """Hold a file against the schema of the Compose specification, which comes with the program."""
    program = [sys.executable, "-P", "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*program, file], capture_output=True, text=True, timeout=60, check=False)


def test_it_is_what_the_specification_of_compose_files_wants() -> None:
    done = valid(PROJECT / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("service", "said"),
    [({"restarts": "no"}, "restarts"), ({"mem_limit": []}, "mem_limit")],
)
def test_what_no_engine_would_understand_is_found(tmp_path: Path, service: dict[str, Any], said: str) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump({**COMPOSE, "services": {**SERVICES, "sink": SERVICES["sink"] | service}}))
    done = valid(file)
    assert done.returncode == 1 and said in done.stdout, done.stdout + done.stderr


@of(SERVICES)
def test_each_says_whether_it_is_well_and_may_gain_no_privileges(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert not service.get("privileged")


@of(SERVICES)
def test_ports_are_published_on_loopback_alone(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "network_mode" not in service


@of(SERVICES)
def test_volumes_are_named_so_that_no_folder_or_socket_of_the_host_is_inside(service: dict[str, Any]) -> None:
    assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])


@of(SERVICES)
def test_images_are_pinned(service: dict[str, Any]) -> None:
    tag = service["image"].partition(":")[2]
    assert tag
    assert tag != "latest"


@of(SERVICES)
def test_what_it_waits_for_can_come(service: dict[str, Any]) -> None:
    for name, wanted in service.get("depends_on", {}).items():
        ends = SERVICES[name].get("restart") == "no"
        assert wanted["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_no_two_publish_one_port() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_the_console_may_look_and_no_more_at_the_same_servers_as_the_agents() -> None:
    told, agents = SERVICES["console"]["environment"], SERVICES["worker"]["environment"]
    assert told["KAFKA_CLUSTERS_0_READONLY"] == "true"
    assert told["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == agents["JOBSTREAM_KAFKA__BOOTSTRAP"]
    assert told["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"] == agents["JOBSTREAM_KAFKA__REGISTRY_URL"]
    assert not any("console" in service.get("depends_on", {}) for service in SERVICES.values())


@of(AGENTS)
def test_agents_are_built_from_here_and_write_only_to_their_home(service: dict[str, Any]) -> None:
    assert service["build"] == "."
    assert service["read_only"] is True
    written = [*service.get("volumes", []), *service["tmpfs"]]
    assert any("/var/lib/jobstream" in place for place in written)


@of(AGENTS)
def test_each_agents_command_is_one_of_the_command_line(service: dict[str, Any]) -> None:
    words = [word for word in service["command"] if word.isalpha() and word != "process"]
    shown = subprocess.run(
        [sys.executable, "-m", "ops.cli.main", *words, "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    for option in (word for word in service["command"] if word.startswith("--")):
        assert option in shown.stdout


@of(AGENTS)
def test_the_settings_that_an_agent_is_given_exist(
    service: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.settings import Settings

    monkeypatch.chdir(tmp_path)
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.sink.elasticsearch == "http://elasticsearch:9200"


def test_the_image_runs_as_nobody_in_particular_and_checks_what_it_installs() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert 'ENTRYPOINT ["jobstream"]' in lines
    assert any("--require-hashes" in line for line in lines)


def test_only_what_the_image_is_made_of_is_sent_to_the_engine() -> None:
    rules = (PROJECT / ".dockerignore").read_text().split("\n")
    assert rules[1] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {"pyproject.toml", "requirements.lock", "agents", "ops", "pipeline", "schemas"} <= kept
    assert not kept & {".git", ".jobstream", "tests"}


def test_the_locks_runtime_part_is_what_the_project_needs_and_no_test_tool() -> None:
    run = subprocess.run(
        [sys.executable, "ops/containers/runtime_lock.py", "pyproject.toml", "requirements.lock"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    kept = {line.partition("==")[0].lower() for line in run.stdout.splitlines() if "==" in line}
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {metadata.metadata(_name(one))["Name"].lower().replace("_", "-") for one in wanted} <= kept
    assert {"aiokafka", "aiohttp", "pydantic-core"} <= kept
    assert not kept & {"pytest", "mypy", "ruff", "numpy", "matplotlib", "hypothesis"}
    assert run.stdout.count("--hash=") >= len(kept)


def _name(requirement: str) -> str:
    for stop in "[<>=":
        requirement = requirement.partition(stop)[0]
    return requirement
