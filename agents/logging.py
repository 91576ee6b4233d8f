"""Logging of every process: JSON lines on stderr, or readable lines where stderr is a terminal."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import orjson
import structlog

from pipeline.settings import Settings

#: These say more than an operator needs below WARNING, some of it once a record.
QUIET = ("faust", "mode", "aiokafka", "elastic_transport", "elasticsearch", "asyncio", "urllib3", "docker")

#: Values under these names are secrets, whoever logs them.
_SECRET_NAME = re.compile(
    r"(^|[._-])(password|passwd|secret|token|token_key|authorization|credentials)$", re.IGNORECASE
)
#: user:password in a URL
_URL_SECRET = re.compile(r"(?<=://)[^/@\s]+@")
_HIDDEN = "***"

EventDict = MutableMapping[str, Any]


def configure(settings: Settings, agent: str, stream: TextIO | None = None) -> None:
    """Send everything that this process logs to `stream` (stderr by default), each line naming the agent.

    A terminal gets readable lines, anything else one JSON object a line with `time` (ISO, UTC), `level`, `agent`,
    `event` and the fields that were bound. Replaces handlers that were there; may be called again.
    """
    out = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.stdlib.PositionalArgumentsFormatter(),
        _Named(agent),
        _hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(out)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderers(out: TextIO) -> list[Any]:
    if out.isatty():
        return [_hide_in_event, structlog.dev.ConsoleRenderer(timestamp_key="time")]
    # the traceback becomes text first, so that what it quotes is hidden too
    return [structlog.processors.format_exc_info, _hide_in_event, structlog.processors.JSONRenderer(serializer=_json)]


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


class _Named:
    """Adds the agent's name to each line."""

    def __init__(self, agent: str) -> None:
        self.agent = agent

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("agent", self.agent)
        return event


def _hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        event[name] = _without_secrets(name, value)
    return event


def _without_secrets(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: _without_secrets(str(key), inner) for key, inner in value.items()}
    return value


def _hide_in_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[name] = _URL_SECRET.sub(f"{_HIDDEN}@", value)
    return event
