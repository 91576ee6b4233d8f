"""What of the embedded broker needs no broker."""

import base64
import re

import pytest

from ops.embedded.kafka import _SERVER, fresh_id
from pipeline.settings import TaskSettings


def test_a_fresh_cluster_id_is_16_bytes_and_never_looks_like_an_option() -> None:
    ids = {fresh_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(base64.urlsafe_b64decode(f"{one}==")) for one in ids} == {16}
    assert not [one for one in ids if one.startswith("-")]


def test_it_allows_every_lock_that_the_settings_of_tasks_do() -> None:
    (allowed,) = re.findall(r"^group\.share\.max\.record\.lock\.duration\.ms=(\d+)$", _SERVER, re.MULTILINE)
    assert TaskSettings(lock_ms=540_000).lock_ms <= int(allowed)
    with pytest.raises(ValueError, match="lock_ms"):
        TaskSettings(lock_ms=540_001)
