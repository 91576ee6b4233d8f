"""Other people's schemas, and a registry that hands them out: whoever may register one steers the decoder."""

import random
from typing import Any

from pipeline.codec import Registry

_PLAIN = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_LOGICAL = ("timestamp-millis", "decimal", "uuid", "date", "time-micros", "nonsense")
#: Of the fields that we read, and of some that we don't.
_NAMES = ("job_type", "payload", "tags", "priority", "time_limit", "kind", "attempts", "action", "job_id", "x", "y")


class Fuzzed(Registry):
    """Gives ids to our own schemas, and to a thousand others that follow from the seed."""

    OTHERS = range(1000, 2000)

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._own: list[dict[str, Any]] = []

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        if schema_id in self.OTHERS:
            return foreign(random.Random(f"{self._seed}/{schema_id}"))
        return self._own[schema_id] if schema_id < len(self._own) else None

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        if schema not in self._own:
            self._own.append(schema)
        return self._own.index(schema)


def foreign(chance: random.Random) -> dict[str, Any]:
    """Return a schema of a record: mostly a good one, at times one that refers to itself, or is none."""
    named = ["jobstream.Other"]
    fields = [{"name": name, "type": _type(chance, named, 0)} for name in chance.sample(_NAMES, chance.randint(0, 6))]
    return {"type": "record", "name": "Other", "namespace": "jobstream", "fields": fields}


def _type(chance: random.Random, named: list[str], depth: int) -> Any:
    if depth > 4 or chance.random() < 0.4:
        return chance.choice(_PLAIN)
    match chance.randrange(8):
        case 0:
            return {"type": "array", "items": _type(chance, named, depth + 1)}
        case 1:
            return {"type": "map", "values": _type(chance, named, depth + 1)}
        case 2:
            return ["null", _type(chance, named, depth + 1)]
        case 3:
            named.append(f"jobstream.R{len(named)}")
            fields = [{"name": f"f{i}", "type": _type(chance, named, depth + 1)} for i in range(chance.randint(0, 3))]
            return {"type": "record", "name": named[-1], "fields": fields}
        case 4:
            return {"type": "bytes", "logicalType": "decimal", "precision": chance.choice((1, 9, 10**6)), "scale": 0}
        case 5:
            return {"type": chance.choice(("long", "string", "int")), "logicalType": chance.choice(_LOGICAL)}
        case 6:
            return chance.choice(named)
        case _:
            named.append(f"jobstream.F{len(named)}")
            return {"type": "fixed", "name": named[-1], "size": chance.choice((0, 1, 16, 2**40))}
