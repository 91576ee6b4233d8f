"""A hysds-io: where the values of a job type's parameters come from, and of what type they are (spec §2.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pipeline.jobtypes import check, values
from pipeline.jobtypes.job_spec import repeated
from pipeline.jobtypes.problems import Problem
from pipeline.jobtypes.transforms import Transform, TransformError, transform

_JPATH = "dataset_jpath:"


class Source(StrEnum):
    """Where a value comes from."""

    VALUE = "value"
    SUBMITTER = "submitter"
    PASSTHROUGH = "passthrough"
    DATASET = "dataset_jpath"


class _Nothing:
    """A value that there isn't; null is one that there is."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()


@dataclass(frozen=True, slots=True)
class Input:
    """One parameter's source and type; `path` is that into the dataset, `value` and `default` may be NOTHING."""

    name: str
    source: Source = Source.SUBMITTER
    path: tuple[str, ...] = ()
    kind: values.Type | None = None
    value: Any = NOTHING
    default: Any = NOTHING
    optional: bool = False
    enumerables: tuple[Any, ...] = ()
    version_regex: str = ""
    transform: Transform | None = field(default=None, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Input":
        """Return the parameter of a document without `problems`."""
        source, _, path = raw["from"].partition(":")
        return cls(
            name=raw["name"],
            source=Source(source),
            path=tuple(path.split(".")) if path else (),
            kind=values.Type(raw.get("type", values.Type.TEXT)),
            value=raw.get("value", NOTHING),
            default=raw.get("default", NOTHING),
            optional=raw.get("optional") is True,
            enumerables=tuple(raw.get("enumerables") or ()),
            version_regex=raw.get("version_regex", ""),
            transform=transform(raw["lambda"]) if raw.get("lambda") else None,
        )

    def converted(self, value: Any) -> Any:
        """Return the value as its type has it; raises ValueError with what is expected."""
        if self.kind is None:
            return value
        return values.converted(self.kind, value, self.enumerables, self.version_regex)


def inputs(raw: Mapping[str, Any]) -> dict[str, Input]:
    """Return the parameters of a hysds-io without `problems`, by name."""
    return {one["name"]: Input.of(one) for one in raw["params"]}


def problems(raw: Any, name: str = "hysds-io") -> list[Problem]:
    """Return everything that is wrong with a hysds-io."""
    found = check.problems(check.Kind.HYSDS_IO, raw, name)
    if found:
        return found
    found = repeated([one["name"] for one in raw["params"]], name)
    for number, one in enumerate(raw["params"]):
        found += _of_param(one, f"$.params[{number}]", name)
    return found


def advice(raw: Mapping[str, Any], name: str = "hysds-io") -> list[str]:
    """Return what could be better in a hysds-io without `problems`."""
    return check.unread(check.Kind.HYSDS_IO, raw, name)


def _of_param(raw: Mapping[str, Any], path: str, name: str) -> list[Problem]:
    if "version_regex" in raw and (said := _broken(raw["version_regex"])):
        return [Problem(name, f"{path}.version_regex", said, "a regular expression")]
    if raw.get("lambda"):
        try:
            transform(raw["lambda"])
        except TransformError as error:
            return [Problem(name, f"{path}.lambda", "an expression that isn't read", str(error))]
    found = []
    plain = Input.of({key: value for key, value in raw.items() if key != "lambda"})
    for key in ("value", "default"):
        given = raw.get(key)
        if given in (None, ""):
            continue
        try:
            plain.converted(given)
        except ValueError as error:
            found.append(Problem(name, f"{path}.{key}", check.shown(given), str(error)))
    return found


def _broken(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"{check.shown(pattern)}: {error}"
    return None
