"""Errors as tables show them, and status documents that fit a record: what is cut is said in them."""

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.topic import KIB

#: Bytes of a field and fields of a mapping that are kept: tried from left to right until the whole fits.
_STEPS = ((64 * KIB, 2000), (16 * KIB, 1000), (4 * KIB, 500), (KIB, 200), (256, 100))
#: Mappings of a status document that are cut field by field.
_NESTED = ("job", "job.job_info")
#: Levels within a field that are cut item by item; what is too large below them goes.
_LEVELS = 3
#: Cuts that are named one by one.
_NAMED = 20


def short_error(error: str) -> str:
    """Return an error of at most 35 characters: a longer one's first 20 and last 10 (spec §3.2).

    >>> short_error("x" * 20 + "-" * 99 + "y" * 10)
    'xxxxxxxxxxxxxxxxxxxx.....yyyyyyyyyy'
    """
    return error if len(error) <= 35 else f"{error[:20]}.....{error[-10:]}"


def cut_text(text: str, longest: int) -> str:
    """Return a text's first `longest` characters, and then how many there were where that are more.

    >>> cut_text("x" * 9, 4)
    'xxxx… (4 of 9 characters)'
    """
    return text if len(text) <= longest else f"{text[:longest]}… ({longest} of {len(text)} characters)"


def fitted(document: Mapping[str, Any], limit: int) -> str:
    """Return a status document as JSON of at most `limit` bytes (100 KiB or more), the same for the same document.

    Where something had to be cut, `job.job_info.cut` lists what, after what its worker says there. Never raises for
    what the document holds: what can't be written goes. Takes the time of writing the document some times over.
    """
    text = _dump(document)
    if text is not None and len(text) <= limit:
        return text.decode()
    for room, most in _STEPS:
        cutting = _Cutting(room, most)
        text = _dump(cutting.said(cutting.mapping(document, "")))
        if text is not None and len(text) <= limit:
            break
    return (text or b"{}").decode()


class _Cutting:
    """One try: what it keeps of each field, and what it cut."""

    def __init__(self, room: int, most: int) -> None:
        self._room = room
        self._most = most
        self._cuts: dict[str, None] = {}

    def mapping(self, whole: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Cut each field of a mapping that is cut field by field."""
        kept: dict[str, Any] = {}
        for name, value in whole.items():
            if len(kept) >= self._most:
                self._say(path, f"{len(kept)} of {len(whole)} fields")
                break
            inner = f"{path}.{name}" if path else name
            if inner in _NESTED and isinstance(value, Mapping):
                kept[name] = self.mapping(value, inner)
            else:
                kept[name[:200]] = self._value(value, inner, self._room, _LEVELS)
        return kept

    def said(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the document with what was cut said in it."""
        job = document.get("job")
        job = job if isinstance(job, dict) else {}
        info = job.get("job_info")
        info = info if isinstance(info, dict) else {}
        known = info.get("cut")
        cuts = list(self._cuts)
        more = [f"and {len(cuts) - _NAMED} more"] if len(cuts) > _NAMED else []
        said = [*(known if isinstance(known, list) else []), *cuts[:_NAMED], *more]
        return {**document, "job": {**job, "job_info": {**info, "cut": said}}}

    def _value(self, value: Any, path: str, room: int, levels: int) -> Any:
        text = _dump(value)
        if text is not None and len(text) <= room:
            return value
        if isinstance(value, str):
            kept = value.encode(errors="replace")[:room].decode(errors="ignore")
            self._say(path, f"{len(kept)} of {len(value)} characters")
            return kept
        if not isinstance(value, list | Mapping) or not levels:
            self._say(path, "left out")
            return None
        return self._items(value, path, room, levels)

    def _items(self, value: "list[Any] | Mapping[str, Any]", path: str, room: int, levels: int) -> Any:
        """Return the first items that fit, each cut to half of the room where it needs more."""
        kept: list[tuple[str, Any]] = []
        left = room
        pairs = value.items() if isinstance(value, Mapping) else (("", item) for item in value)
        for name, item in pairs:
            inner = self._value(item, f"{path}.{name}" if name else f"{path}[]", room // 2, levels - 1)
            left -= len(_dump(inner) or b"") + len(name) + 4
            if left < 0:
                break
            kept.append((name, inner))
        if len(kept) < len(value):
            self._say(path, f"{len(kept)} of {len(value)} items")
        return dict(kept) if isinstance(value, Mapping) else [item for _, item in kept]

    def _say(self, path: str, what: str) -> None:
        self._cuts[f"{path[:150]}: {what}"] = None


def _dump(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return None
