"""From what was submitted to what runs: a command in words, inputs, and the context (spec §2.2)."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.jobtypes import words
from pipeline.jobtypes.hysds_io import NOTHING, Input, Source
from pipeline.jobtypes.job_spec import RESERVED, Destination
from pipeline.jobtypes.job_type import JobType
from pipeline.jobtypes.problems import InvalidError, Problem, kind
from pipeline.jobtypes.sources import ALWAYS, Given
from pipeline.jobtypes.transforms import TransformError
from pipeline.submission.numbers import check_depth

#: A value that is missing and may be.
_ABSENT = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a job of a registered type is made of; `params` is the job's, with what HySDS puts into a payload."""

    argv: tuple[str, ...]
    localize_urls: tuple[dict[str, Any], ...]
    params: Mapping[str, Any]

    @property
    def command(self) -> dict[str, Any]:
        """The command as the job's document holds it: nothing in it is looked at again."""
        return {"path": self.argv[0], "options": [], "arguments": list(self.argv[1:]), "env": []}


def resolve(job_type: JobType, payload: Mapping[str, Any], fields: Mapping[str, Any] | None = None) -> Resolved:
    """Resolve a payload; `fields` are the submission's own, for `passthrough`.

    Raises InvalidError with every parameter that is missing, of the wrong type, or unknown to the type.
    """
    given = Given.of(payload, job_type.inputs, fields or {})
    found = list(_unknown(job_type, given))
    values: dict[str, Any] = {}
    for name, wanted in job_type.inputs.items():
        try:
            values[name] = _value(wanted, given, job_type.id)
        except InvalidError as error:
            found.extend(error.problems)
    if found:
        raise InvalidError(found)
    return _routed(job_type, values, payload, fields or {})


def _value(wanted: Input, given: Given, document: str) -> Any:
    value = given.look_up(wanted)
    if value is NOTHING or value == "":
        if wanted.default is not NOTHING and wanted.default is not None:
            value = wanted.default
        elif value is NOTHING and wanted.optional:
            return _ABSENT
        elif value is NOTHING:
            raise _problem(document, wanted, "nothing", f"a value {_where(wanted)}: it is required")
    if value == "" and wanted.optional:
        return _ABSENT
    try:
        made = wanted.converted(value)
        return _carried(made if wanted.transform is None else wanted.transform(made))
    except TransformError as error:
        raise _problem(document, wanted, kind(value), f"a value that its lambda takes ({error})") from error
    except ValueError as error:
        raise _problem(document, wanted, kind(value), str(error)) from error


def _carried(value: Any) -> Any:
    """Return a value that a document can carry; what it came from may have been a text, or a lambda's arithmetic."""
    try:
        check_depth([value])
        orjson.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a value that JSON carries unchanged ({error})") from error
    return value


def _routed(job_type: JobType, values: Mapping[str, Any], payload: Mapping[str, Any], fields: Any) -> Resolved:
    spec = job_type.spec
    argv = words.substituted(spec.command, values)
    urls: list[dict[str, Any]] = []
    context: dict[str, Any] = {}
    found: list[Problem] = []
    for param in spec.params:
        value = values[param.name]
        if param.destination is Destination.LOCALIZE:
            try:
                urls += _inputs(value)
            except ValueError as error:
                found.append(Problem(job_type.id, f"$.payload.{param.name}", kind(value), str(error)))
            continue
        context[param.name] = value
        if param.destination is Destination.POSITIONAL:
            argv.append(_word(value))
    if any("\0" in word for word in argv):
        found.append(Problem(job_type.id, "$.payload", "a NUL character in the command", "none"))
    if found:
        raise InvalidError(found)
    own = {
        **{key: payload[key] for key in ALWAYS if key in payload},
        "_command": shlex.join(argv),
        "localize_urls": urls,
        "_disk_usage": payload.get("_disk_usage") or spec.disk_usage,
        "job_specification": _specification(job_type),
        **({"container_specification": dict(job_type.container)} if job_type.container else {}),
        **({"tag": fields["tag"]} if fields.get("tag") else {}),
    }
    return Resolved(tuple(argv), tuple(urls), {**_unreserved(context), **own})


def _unreserved(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in context.items() if name not in RESERVED}


def _specification(job_type: JobType) -> dict[str, Any]:
    """Return the job-spec as a job carries it: its id, and all but the parameters, which are resolved."""
    rest = {key: value for key, value in job_type.spec.raw.items() if key != "params"}
    return {**rest, "id": job_type.id, "job-version": job_type.version}


def _word(value: Any) -> str:
    """Return a positional parameter's word: texts as they are, the rest as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _inputs(value: Any) -> list[dict[str, Any]]:
    """Return inputs from texts, objects with a url, and lists of these in lists; nothing for what is absent."""
    if isinstance(value, str):
        return [{"url": value}] if value else []
    if isinstance(value, Mapping):
        if not isinstance(value.get("url"), str) or not value["url"]:
            raise ValueError("an object with a url, which is a text")
        return [dict(value)]
    if isinstance(value, list):
        return [one for inner in value for one in _inputs(inner)]
    raise ValueError("a URL, an object with a url, or a list of these")


def _unknown(job_type: JobType, given: Given) -> Iterator[Problem]:
    """Yield what the type doesn't take: a misspelt name would else be a default that nobody asked for."""
    known = ", ".join(job_type.inputs) or "none"
    for name, value in given.values.items():
        wanted = job_type.inputs.get(name)
        if wanted is None:
            yield Problem(job_type.id, f"$.payload.{name}", "an unknown parameter", f"one of {known}")
        elif wanted.source is Source.VALUE and value != wanted.value:
            yield Problem(job_type.id, f"$.payload.{name}", "another value", "none: the job type itself fixes it")


def _where(wanted: Input) -> str:
    match wanted.source:
        case Source.DATASET:
            return f"at {'.'.join(wanted.path)} of the dataset"
        case Source.PASSTHROUGH:
            return "from the rule or the submission"
        case _:
            return "from the submitter"


def _problem(document: str, wanted: Input, found: str, expected: str) -> InvalidError:
    return InvalidError([Problem(document, f"$.payload.{wanted.name}", found, expected)])
