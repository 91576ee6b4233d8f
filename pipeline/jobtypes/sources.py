"""Where a parameter's value comes from: the type itself, a submitter, a rule or a dataset (spec §2.2)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.jobtypes.hysds_io import NOTHING, Input, Source
from pipeline.submission.numbers import check_integers

#: Keys of a payload that are no parameters: what a rule sends along.
RULE, HIT, DATASET = "rule", "rule_hit", "dataset"
_INDEX = re.compile(r"-?\d{1,9}", re.ASCII)
#: Keys of a payload that every job type takes, and that don't count for its hash.
ALWAYS = ("_disk_usage", "_sciflo_job_num", "_sciflo_wuid")


@dataclass(frozen=True, slots=True)
class Given:
    """What a submission offers: the submitter's values, a rule and the dataset that it hit, the submission's fields."""

    values: Mapping[str, Any]
    rule: Mapping[str, Any] = field(default_factory=dict)
    hit: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, payload: Mapping[str, Any], names: Mapping[str, Input], fields: Mapping[str, Any]) -> "Given":
        """Sort a payload: what `names` claims is a parameter, `rule` and `rule_hit` (or `dataset`) are a rule's.

        A rule's `kwargs`, which may be JSON, are the submitter's values where the payload has none itself.
        """
        rule = payload.get(RULE) if RULE not in names else None
        hit = next((payload[key] for key in (HIT, DATASET) if key in payload and key not in names), None)
        rule = rule if isinstance(rule, Mapping) else {}
        own = {key: value for key, value in payload.items() if key in names or not _is_extra(key)}
        return cls({**_kwargs(rule), **own}, rule, hit, fields)

    def look_up(self, wanted: Input) -> Any:
        """Return the value from the parameter's source, NOTHING where there is none; null is none."""
        match wanted.source:
            case Source.VALUE:
                found = wanted.value
            case Source.SUBMITTER:
                found = self.values.get(wanted.name, NOTHING)
            case Source.PASSTHROUGH:
                sources = (self.rule, self.fields, self.values)
                found = next((one[wanted.name] for one in sources if one.get(wanted.name) is not None), NOTHING)
            case Source.DATASET:
                found = _at(self.hit, wanted.path)
        return NOTHING if found is None else found


def _is_extra(key: str) -> bool:
    return key in (RULE, HIT, DATASET, *ALWAYS)


def _kwargs(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    kwargs = rule.get("kwargs") or {}
    if isinstance(kwargs, str):
        try:
            check_integers(kwargs)
            kwargs = orjson.loads(kwargs)
        except (ValueError, RecursionError):
            return {}
    return kwargs if isinstance(kwargs, Mapping) else {}


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """Return what lies at a dotted path; numbers index lists."""
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and _INDEX.fullmatch(part) and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return NOTHING
    return value
