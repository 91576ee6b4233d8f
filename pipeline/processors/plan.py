"""Which processors a job gets (spec §2.1: `pre`, `post`, and the switches of the built-in ones)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.processors.processor import NotAllowedError

#: Names of the built-in post-processor that keeps what failed jobs left; jobs may name it where nothing else is listed.
TRIAGE = frozenset({"triage", "hysds.triage.triage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The operator's lists: what each job gets, and what a job may name besides."""

    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Names in the order of their calls, and whether the built-in ones go before them."""

    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()
    pre_builtins: bool = True
    post_builtins: bool = True


def plan(document: Mapping[str, Any], allowed: Allowed) -> Plan:
    """Return what a job gets: the operator's, then its own.

    A job names its own in the fields of its job specification, in the document or its parameters' `job_specification`.
    Raises NotAllowedError for a name that is not on the list: a message never decides which code runs.
    """
    given = (document.get("params") or {}).get("job_specification")
    specification = {**(given if isinstance(given, Mapping) else {}), **document}
    return Plan(
        pre=(*allowed.pre, *_names(specification, "pre", allowed)),
        post=(*allowed.post, *_names(specification, "post", allowed)),
        pre_builtins=specification.get("disable_pre_builtins") is not True,
        post_builtins=specification.get("disable_post_builtins") is not True,
    )


def _names(specification: Mapping[str, Any], field: str, allowed: Allowed) -> tuple[str, ...]:
    names = specification.get(field) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NotAllowedError(f"{field} is no list of names")
    always = getattr(allowed, field)
    for name in names:
        built_in = field == "post" and name in TRIAGE
        if not built_in and name not in allowed.on_request and name not in always:
            raise NotAllowedError(f"{field}-processor {name[:200]!r} is not on this worker's list")
    # what runs for each job anyway doesn't run twice
    return tuple(name for name in dict.fromkeys(names) if name not in always)
