"""What operators put on jobs.control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.messages.plain import plain

REVOKE = "revoke"
RETRY = "retry"
REPRIORITISE = "reprioritise"
REPUBLISH = "republish"
ACTIONS = frozenset({REVOKE, RETRY, REPRIORITISE, REPUBLISH})


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """An action on a job, by whom and why; `arguments` is JSON.

    `{"priority": 9}`; of a retry `{"force": true, "queue": "other", "attempt": 1}`, each as needed.
    """

    action: str
    job_id: str
    by: str = ""
    reason: str = ""
    arguments: str = "{}"

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return plain(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**record)
