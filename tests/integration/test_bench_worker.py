"""The worker's benchmark, in its shortest form."""

import json
import os
import subprocess
import sys

import docker

from ops.bench import overhead
from ops.bench.worker import problems


def test_a_container_is_timed_in_three_ways(docker_engine: docker.DockerClient) -> None:
    said: list[str] = []
    figures = overhead.measure(2, said.append)
    for way in ("sdk", "engine", "attempt"):
        low, median, high = figures[f"{way}_ms"]
        assert 0 < low <= median <= high
    assert figures["attempt_ratio"] > 0
    assert docker_engine.containers.list(all=True, filters={"label": "jobstream.job=attempt-2"}) == []


def test_without_docker_it_says_so_and_its_last_line_is_json() -> None:
    command = [sys.executable, "-m", "ops.bench.worker", "--jobs", "0", "--check"]
    environment = os.environ | {"DOCKER_HOST": "unix:///nonexistent.sock"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "overhead is not measured: no Docker engine answers" in ran.stdout
    assert json.loads(ran.stdout.splitlines()[-1])["overhead"] is None


def test_what_is_not_as_it_should_be_is_said() -> None:
    good, bad = {"use": 0.98}, {"use": 0.9}
    assert problems({"overhead": {"attempt_ratio": 1.15}, "slot_use": {"process": good}}) == []
    assert len(problems({"overhead": {"attempt_ratio": 1.16}, "slot_use": {"process": good, "docker": bad}})) == 2
