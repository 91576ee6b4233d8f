"""A document against its JSON Schema: everything that is wrong, and what nobody reads."""

import difflib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from pipeline.jobtypes.problems import Problem, kind

#: Characters of a value that are shown.
_SHOWN = 60
_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


class Kind(StrEnum):
    """The documents that there are schemas of; the value is how messages call one."""

    JOB_SPEC = "job-spec"
    HYSDS_IO = "hysds-io"
    JOB_TYPE = "job type"
    JOB_WORKER = "job_worker.json"


_FILES = {
    Kind.JOB_SPEC: "job_spec",
    Kind.HYSDS_IO: "hysds_io",
    Kind.JOB_TYPE: "job_type",
    Kind.JOB_WORKER: "job_worker",
}


@cache
def schema(of: Kind) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document."""
    loaded: dict[str, Any] = orjson.loads((files(__package__) / f"{_FILES[of]}.schema.json").read_bytes())
    return loaded


def problems(of: Kind, document: Any, name: str = "") -> list[Problem]:
    """Return everything that is wrong with a document, by its place; `name` is what messages call it."""
    errors = sorted(_validator(of).iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    found = [problem for error in errors for problem in _of(schema(of), error, name or of.value)]
    return list(dict.fromkeys(found))


def unread(of: Kind, document: Mapping[str, Any], name: str = "") -> list[str]:
    """Return a sentence for each key that nothing reads: most often it is one that is misspelt."""
    return list(_unread(schema(of), schema(of), document, "$", name or of.value))


@cache
def _validator(of: Kind) -> Draft202012Validator:
    return Draft202012Validator(schema(of))


def _of(root: Mapping[str, Any], error: ValidationError, name: str) -> Iterator[Problem]:
    path, wanted = error.json_path, error.validator_value
    if error.validator == "required":
        for missing in wanted:
            if missing not in error.instance:
                yield Problem(name, f"{path}.{missing}", "nothing", _described(root, error, missing))
    elif error.validator == "additionalProperties" and wanted is False:
        known = list(error.schema.get("properties", {}))
        for key in error.instance.keys() - set(known):
            yield Problem(name, f"{path}.{key}", "an unknown key", f"one of {', '.join(known)}")
    else:
        yield Problem(name, path, shown(error.instance), _expected(error))


def _described(root: Mapping[str, Any], error: ValidationError, missing: str) -> str:
    properties = error.schema.get("properties") or {}
    inner = properties.get(missing)
    if not isinstance(inner, dict) or not inner:
        return "a value, which is required here"
    return f"{_words(_followed(root, inner))}, which is required"


def _expected(error: ValidationError) -> str:
    wanted = error.validator_value
    if isinstance(error.schema, dict) and "description" in error.schema:
        return str(error.schema["description"])
    match error.validator:
        case "type":
            return " or ".join(_TYPES[one] for one in ([wanted] if isinstance(wanted, str) else wanted))
        case "enum":
            return f"one of {', '.join(map(str, wanted))}"
        case "pattern":
            return f"a text like {wanted}"
        case "minimum" | "exclusiveMinimum":
            return f"{wanted} or more" if error.validator == "minimum" else f"more than {wanted}"
        case "maximum":
            return f"{wanted} or less"
        case "minLength" | "minItems":
            return "something, not nothing" if wanted == 1 else f"at least {wanted}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"at most {wanted}"
        case _:
            return str(error.message)[:_SHOWN]


def _words(inner: Mapping[str, Any]) -> str:
    if "description" in inner:
        return str(inner["description"])
    if "enum" in inner:
        return f"one of {', '.join(map(str, inner['enum']))}"
    known = inner.get("type")
    return _TYPES.get(known, "a value") if isinstance(known, str) else "a value"


def shown(value: Any) -> str:
    """Return a value as a message shows it: cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{kind(value)} of {len(text)} characters, {text[: _SHOWN // 2]}…"


def _unread(root: Mapping[str, Any], part: Mapping[str, Any], value: Any, path: str, name: str) -> Iterator[str]:
    part = _followed(root, part)
    if isinstance(value, Mapping) and (known := part.get("properties")):
        for key, inner in value.items():
            if key in known:
                yield from _unread(root, known[key], inner, f"{path}.{key}", name)
            elif part.get("additionalProperties") is not False:
                yield f"{name}: {path}.{key} is read by nobody{_meant(key, known)}"
    elif isinstance(value, list) and isinstance(items := part.get("items"), dict):
        for number, inner in enumerate(value):
            yield from _unread(root, items, inner, f"{path}[{number}]", name)


def _followed(root: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = part.get("$ref")
    if reference is None:
        return part
    found: Mapping[str, Any] = root["$defs"][reference.rpartition("/")[2]]
    return found


def _meant(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, list(known), 1)
    return f"; is {near[0]} meant?" if near else ""
