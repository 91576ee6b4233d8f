"""A job-spec: what a job type runs, what it needs, and where its parameters go (spec §2.1)."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.jobtypes import check, words
from pipeline.jobtypes.problems import Problem

#: Seconds that the hard limit should leave after the soft one; the gate makes more of it (`gate.hard_limit_gap`).
ADVISED_GAP = 60
#: Keys of a job's params that the resolution itself writes; a parameter of that name isn't in them.
RESERVED = ("_command", "localize_urls", "_disk_usage", "job_specification", "container_specification", "tag")


class Destination(StrEnum):
    """Where a parameter's value goes; positional ones are in the context too."""

    POSITIONAL = "positional"
    LOCALIZE = "localize"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter."""

    name: str
    destination: Destination


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A checked job-spec; `command` is split into words, limits are in seconds, `raw` is the document itself."""

    command: tuple[str, ...]
    params: tuple[Param, ...]
    disk_usage: str
    soft_time_limit: int
    time_limit: int
    queues: tuple[str, ...]
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "JobSpec":
        """Return the spec of a document without `problems`."""
        return cls(
            command=tuple(shlex.split(raw["command"])),
            params=tuple(Param(one["name"], Destination(one["destination"])) for one in raw["params"]),
            disk_usage=raw["disk_usage"],
            soft_time_limit=int(raw["soft_time_limit"]),
            time_limit=int(raw["time_limit"]),
            queues=_queues(raw),
            raw=raw,
        )

    @property
    def mappings(self) -> dict[str, Any]:
        """Host files that the container gets."""
        return dict(self.raw.get("imported_worker_files") or {})

    @property
    def runtime_options(self) -> dict[str, Any]:
        """Options for the engine."""
        return dict(self.raw.get("runtime_options") or {})

    @property
    def dependency_images(self) -> list[dict[str, Any]]:
        """Images that are to be there beside the job's own."""
        return list(self.raw.get("dependency_images") or [])


def problems(raw: Any, name: str = "job-spec") -> list[Problem]:
    """Return everything that is wrong with a job-spec."""
    found = check.problems(check.Kind.JOB_SPEC, raw, name)
    if found:
        return found
    return [*_of_command(raw, name), *repeated([one["name"] for one in raw["params"]], name)]


def advice(raw: Mapping[str, Any], name: str = "job-spec") -> list[str]:
    """Return what could be better in a job-spec without `problems`."""
    said = check.unread(check.Kind.JOB_SPEC, raw, name)
    soft, hard = raw["soft_time_limit"], raw["time_limit"]
    if hard < soft + ADVISED_GAP:
        said.append(f"{name}: $.time_limit: {hard} s leaves less than {ADVISED_GAP} s after soft_time_limit, {soft} s")
    said += [
        f"{name}: $.params: {one['name']} isn't in the context: that name is the resolution's own"
        for one in raw["params"]
        if one["name"] in RESERVED
    ]
    return said


def repeated(names: list[str], document: str) -> list[Problem]:
    """Return a problem for each name that an earlier parameter has."""
    return [
        Problem(document, f"$.params[{number}].name", f'"{name}" again', "a name that no other parameter has")
        for number, name in enumerate(names)
        if name in names[:number]
    ]


def _of_command(raw: Mapping[str, Any], name: str) -> list[Problem]:
    try:
        split = shlex.split(raw["command"])
    except ValueError as error:
        return [Problem(name, "$.command", f"a text that can't be split: {error}", "words, with closed quotes")]
    if not split or not split[0] or "\0" in raw["command"]:
        return [Problem(name, "$.command", "no program", "the program in the container")]
    if words.parameter(split[0]) is not None:
        return [Problem(name, "$.command", f"the parameter {split[0]}", "a program that the type itself names")]
    known = {one["name"] for one in raw["params"]}
    return [
        Problem(name, "$.command", f"{word}, which is no parameter", f"one of {', '.join(sorted(known)) or 'none'}")
        for word in split
        if (wanted := words.parameter(word)) is not None and wanted not in known
    ]


def _queues(raw: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("required_queues", "required-queues", "recommended-queues", "recommended_queues")
    return tuple(dict.fromkeys(queue for name in names for queue in raw.get(name) or ()))
