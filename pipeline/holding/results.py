"""Results that fit into a report; what is cut is said in them (design §3, sizes)."""

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.topology import REPORT_LIMIT

#: Bytes of a report that its other fields may take.
_ENVELOPE = 2048
#: Longest result as JSON (bytes).
RESULT_LIMIT = REPORT_LIMIT - _ENVELOPE
#: Characters of a text, items of a list or a mapping: tried from left to right until the result fits.
_STEPS = ((REPORT_LIMIT, REPORT_LIMIT), (65_536, 4000), (16_384, 1000), (4096, 200), (1024, 50), (256, 10))
#: Cuts that are named one by one.
_NAMED = 20
#: Levels of nesting that are kept.
_DEPTH = 32
#: What is kept of a result that no cutting makes fit.
_ESSENTIAL = ("error", "short_error", "category", "signum")


def as_json(result: Mapping[str, Any], limit: int = RESULT_LIMIT) -> str:
    """Return the result as JSON of at most `limit` bytes; never raises for what the result holds.

    Where something had to be cut, `job_info.cut` lists what (`"traceback: 90000 of 120000 characters"`). Values that
    JSON has no words for become text.
    """
    text = _dump(result)
    if text is not None and len(text) <= limit:
        return text.decode()
    for longest, most in _STEPS:
        cutter = _Cutter(longest, most)
        text = _dump(_with_cuts(cutter.cut(dict(result), ""), cutter.said()))
        if text is not None and len(text) <= limit:
            return text.decode()
    cutter = _Cutter(256, 10)
    rest = cutter.cut({name: result[name] for name in _ESSENTIAL if name in result}, "")
    return (_dump(_with_cuts(rest, ["all but the error"])) or b"{}").decode()


def by_reference(result: Mapping[str, Any], places: Mapping[str, tuple[int, int]]) -> Mapping[str, Any]:
    """Return a result that is too large with `products_at` instead of its datasets' documents.

    That says how many there are, and between which offsets of datasets.published they are, by partition. One that
    fits, or has no `places`, stays as it is.
    """
    text = _dump(result) if places else None
    if text is None or len(text) <= RESULT_LIMIT:
        return result
    kept = {name: value for name, value in result.items() if name != "products"}
    return {**kept, "products_at": {"count": len(result.get("products", ())), "places": dict(places)}}


class _Cutter:
    def __init__(self, longest: int, most: int) -> None:
        self._longest = longest
        self._most = most
        self._cuts: list[str] = []

    def cut(self, value: Any, path: str, depth: int = 0) -> Any:
        """Return the value with long texts and lists shortened."""
        if isinstance(value, str):
            return self._text(value, path)
        if value is None or isinstance(value, bool | int | float):
            return value if not isinstance(value, int) or -(2**63) <= value < 2**63 else str(value)
        if depth > _DEPTH:
            self._cuts.append(f"{path}: nested too deeply")
            return None
        if isinstance(value, Mapping):
            kept = list(value.items())[: self._most]
            self._count(path, len(kept), len(value))
            return {
                self._text(str(k), path): self.cut(v, f"{path}.{k}" if path else str(k), depth + 1) for k, v in kept
            }
        if isinstance(value, list | tuple):
            self._count(path, min(len(value), self._most), len(value))
            return [self.cut(item, f"{path}[]", depth + 1) for item in value[: self._most]]
        return self._text(str(value), path)

    def said(self) -> list[str]:
        """Return what was cut, each once, and how many cuts there were beyond those named."""
        cuts = list(dict.fromkeys(self._cuts))
        more = [f"and {len(cuts) - _NAMED} more"] if len(cuts) > _NAMED else []
        return [cut[:200] for cut in cuts[:_NAMED]] + more

    def _text(self, text: str, path: str) -> str:
        if len(text) > self._longest:
            self._cuts.append(f"{path}: {self._longest} of {len(text)} characters")
            text = text[: self._longest]
        return text.encode(errors="replace").decode()

    def _count(self, path: str, kept: int, all_: int) -> None:
        if kept < all_:
            self._cuts.append(f"{path}: {kept} of {all_} items")


def _with_cuts(result: dict[str, Any], cuts: list[str]) -> dict[str, Any]:
    if not cuts:
        return result
    job_info = result.get("job_info")
    return {**result, "job_info": {**(job_info if isinstance(job_info, dict) else {}), "cut": cuts}}


def _dump(value: Mapping[str, Any]) -> bytes | None:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError):
        return None
