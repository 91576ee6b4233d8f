"""Dataclasses as dicts, one level deep: what the codec's hot path needs of `dataclasses.asdict`."""

from typing import Any


def plain(message: Any) -> dict[str, Any]:
    """Return the fields of a dataclass with slots as a dict; nested records stay what they are."""
    return {name: getattr(message, name) for name in message.__slots__}
