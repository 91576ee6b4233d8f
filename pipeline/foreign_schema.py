"""Schemas that others wrote: what of them may steer the reading of bytes.

Whoever may register a schema and produce a record chooses what the decoder does. A schema of itself overflows the
decoder's stack, which ends the process; values that take no bytes can be as many as a number says. Both were seen: 1 MB
of a recursive record is a segmentation fault, ten bytes of an array of nulls are 50 million values.
"""

from collections.abc import Iterator
from typing import Any

import fastavro

#: Types within types; the decoder calls itself for each.
MAX_DEPTH = 64
#: Types of a schema, each time that it is named.
MAX_TYPES = 10_000


class UnsafeSchemaError(ValueError):
    """A schema that would let few bytes take a reader's stack, memory or time; the text says which rule it breaks."""


def usable(raw: Any) -> Any:
    """Return the schema parsed by fastavro, without its logical types, which no schema of ours has.

    Each value that it describes takes a byte at least, so that reading takes no more steps than there are bytes, and
    it nests no deeper than `MAX_DEPTH`. Raises UnsafeSchemaError where that can't be promised, and whatever fastavro
    raises for what is no schema.
    """
    parsed = fastavro.parse_schema(_plain(raw))
    _Walk(parsed).check()
    return parsed


def _plain(raw: Any) -> Any:
    if isinstance(raw, list):
        return [_plain(one) for one in raw]
    if not isinstance(raw, dict):
        return raw
    # a default is a value, whatever its keys are called
    return {key: value if key == "default" else _plain(value) for key, value in raw.items() if key != "logicalType"}


class _Walk:
    """One look at all types of a parsed schema, in which a named type stands whole once, and by its name later."""

    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed
        self._named: dict[str, Any] = {}
        self._seen = 0

    def check(self) -> None:
        self._visit(self._parsed, (), 0)

    def _visit(self, schema: Any, within: tuple[str, ...], depth: int) -> None:
        self._seen += 1
        if self._seen > MAX_TYPES:
            raise UnsafeSchemaError(f"it has more than {MAX_TYPES} types")
        if depth > MAX_DEPTH:
            raise UnsafeSchemaError(f"it nests deeper than {MAX_DEPTH} types")
        schema, within = self._resolved(schema, within)
        if _takes_no_bytes(schema):
            raise UnsafeSchemaError("it has values that take no bytes: null outside of a union, or an empty record")
        for child in _children(schema):
            self._visit(child, within, depth + 1)

    def _resolved(self, schema: Any, within: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        """Return the type itself where it is a name, and the named types that are open then."""
        if isinstance(schema, str):
            schema = self._named.get(schema, schema)
        name = schema.get("name") if isinstance(schema, dict) else None
        if name is None:
            return schema, within
        if name in within:
            raise UnsafeSchemaError(f"type {name[:100]} has values of its own type")
        self._named[name] = schema
        return schema, (*within, name)


def _takes_no_bytes(schema: Any) -> bool:
    if schema == "null":
        return True
    if not isinstance(schema, dict):
        return False
    kind = schema.get("type")
    return kind == "null" or schema.get("fields") == [] or (kind == "fixed" and schema["size"] == 0)


def _children(schema: Any) -> Iterator[Any]:
    if isinstance(schema, list):
        yield from (branch for branch in schema if branch not in ("null", {"type": "null"}))
    elif isinstance(schema, dict):
        match schema.get("type"):
            case "record" | "error":
                yield from (one["type"] for one in schema["fields"])
            case "array":
                yield schema["items"]
            case "map":
                yield schema["values"]
            case "fixed" | "enum" | str():
                pass
            case nested:
                yield nested
