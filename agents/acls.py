"""Brings the rights of `pipeline.rights` onto a broker, and says what is there."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from agents.admin import client, result
from agents.bus import CALL_TIMEOUT
from pipeline.rights import Resource, Right
from pipeline.settings import Settings

_RESOURCES = {Resource.TOPIC: ResourceType.TOPIC, Resource.GROUP: ResourceType.GROUP}
_OURS = frozenset(_RESOURCES.values())
_ANY_HOST = "*"
#: Bindings that are sent at a time.
_BATCH = 200


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """A right of a principal, whose name is as the broker knows it (`User:worker`)."""

    principal: str
    right: Right

    def binding(self) -> AclBinding:
        """Return it as the client has it."""
        right = self.right
        pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
        operation = AclOperation[right.operation.name]
        allow = AclPermissionType.ALLOW
        kind = _RESOURCES[right.resource]
        return AclBinding(kind, right.name, pattern, self.principal, _ANY_HOST, operation, allow)


@dataclass(frozen=True, slots=True)
class Difference:
    """What the broker lacks, what it has already, and what it has of these principals beyond the table.

    `beyond` are rights to this installation's topics and groups, `denied` what somebody forbade there: no right, and
    taking it away would give one. `elsewhere` is about anything else, such as another installation's, all that there
    are (`*`), or the cluster: not ours to take away either.
    """

    missing: list[Grant]
    present: list[Grant]
    beyond: list[Any]
    denied: list[Any]
    elsewhere: list[Any]


def grants(rights: Mapping[str, Iterable[Right]]) -> list[Grant]:
    """Return the rights of several principals, by their names, as one list."""
    return sorted({Grant(principal, right) for principal, theirs in rights.items() for right in theirs})


def compare(settings: Settings, wanted: Sequence[Grant]) -> Difference:
    """Ask the broker what it has of the principals in `wanted`.

    Raises TopicError where it refuses or has no authorizer, OSError where it can't be reached.
    """
    admin = client(settings)
    principals = sorted({one.principal for one in wanted})
    there = {_fields(one): one for principal in principals for one in _of(admin, principal)}
    known = {_fields(one.binding()): one for one in wanted}
    others = [one for key, one in sorted(there.items(), key=lambda pair: str(pair[0])) if key not in known]
    named, topology = {one.right.name for one in wanted}, settings.topology

    def is_own(one: Any) -> bool:
        return one.restype in _OURS and (one.name in named or topology.owns(one.name))

    own = [one for one in others if is_own(one)]
    return Difference(
        [one for key, one in known.items() if key not in there],
        [one for key, one in known.items() if key in there],
        [one for one in own if one.permission_type is AclPermissionType.ALLOW],
        [one for one in own if one.permission_type is not AclPermissionType.ALLOW],
        [one for one in others if not is_own(one)],
    )


def create(settings: Settings, missing: Sequence[Grant]) -> None:
    """Give rights, and wait until the broker knows them; one that is there already stays. Raises like `compare`."""
    admin = client(settings)
    for start in range(0, len(missing), _BATCH):
        bindings = [one.binding() for one in missing[start : start + _BATCH]]
        _await(partial(admin.create_acls, bindings, request_timeout=CALL_TIMEOUT))
    deadline = time.monotonic() + CALL_TIMEOUT
    while left := compare(settings, missing).missing:
        if time.monotonic() > deadline:
            raise OSError(f"{len(left)} rights are not known to the broker after {CALL_TIMEOUT:.0f} s")
        time.sleep(0.05)


def remove(settings: Settings, bindings: Sequence[Any]) -> None:
    """Take rights away, as `compare` found them. Raises like `compare`."""
    admin = client(settings)
    filters = [AclBindingFilter(*_fields(one)) for one in bindings]
    for start in range(0, len(filters), _BATCH):
        _await(partial(admin.delete_acls, filters[start : start + _BATCH], request_timeout=CALL_TIMEOUT))


def shown(binding: Any) -> str:
    """Return a right as the broker has it in words."""
    kind, name, pattern, principal, host, operation, permission = _fields(binding)
    beginning = "…" if pattern is ResourcePatternType.PREFIXED else ""
    where = "" if host == _ANY_HOST else f" from {host}"
    what = f"{permission.name} {operation.name}".lower()
    return f"{principal}  {what}  {kind.name.lower()} {name}{beginning}{where}"


def _of(admin: AdminClient, principal: str) -> list[Any]:
    everything = (ResourceType.ANY, None, ResourcePatternType.ANY, principal, None)
    wanted = AclBindingFilter(*everything, AclOperation.ANY, AclPermissionType.ANY)
    return list(result(admin.describe_acls(wanted, request_timeout=CALL_TIMEOUT)))


def _await(call: "Callable[[], dict[Any, Future[Any]]]") -> None:
    try:
        answers = call()
    except KafkaException as error:
        raise OSError(str(error)) from error
    for future in answers.values():
        result(future)


def _fields(binding: Any) -> tuple[Any, ...]:
    return (
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )
