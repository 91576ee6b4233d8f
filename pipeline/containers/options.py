"""The runtime options that a job may give its container (spec §6): an allow-list, each one checked.

Everything else, `volume` and `privileged` included, is refused by name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.containers.errors import RefusedError

_SIZE = re.compile(r"(\d{1,9})([bkmg]?)b?", re.IGNORECASE)
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What options were given; None where not. They can lower a limit, never raise it."""

    gpus: int | str | None = None
    memory_mib: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    shm_mib: int | None = None
    network: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Options":
        """Build them from a job's `runtime_options`; raises RefusedError for one unknown or malformed."""
        given: dict[str, Any] = {}
        for name, value in options.items():
            if name not in _PARSERS:
                raise RefusedError(f"runtime option {name!r} isn't allowed (allowed: {', '.join(sorted(_PARSERS))})")
            field, parse = _PARSERS[name]
            try:
                given[field] = parse(value)
            except (TypeError, ValueError) as error:
                raise RefusedError(f"runtime option {name}: {value!r} can't be used") from error
        return cls(**given)


def _mib(value: Any) -> int:
    matched = _SIZE.fullmatch(str(value).strip())
    if not matched:
        raise ValueError(value)
    return max(1, int(matched[1]) * _BYTES[matched[2].lower()] >> 20)


def _count(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or not 0 < number < 1 << 20:
        raise ValueError(value)
    return number


def _cpus(value: Any) -> float:
    number = float(value)
    if not 0 < number < 1 << 16:
        raise ValueError(value)
    return number


def _gpus(value: Any) -> int | str:
    return "all" if value in ("all", -1, "-1") else _count(value)


def _network(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError(value)
    return value


_PARSERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "gpus": ("gpus", _gpus),
    "memory": ("memory_mib", _mib),
    "cpus": ("cpus", _cpus),
    "pids-limit": ("pids_limit", _count),
    "shm-size": ("shm_mib", _mib),
    "network": ("network", _network),
}
