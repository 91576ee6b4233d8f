"""One right, as Kafka's authorizers know them."""

from dataclasses import dataclass
from enum import StrEnum


class Resource(StrEnum):
    """What a right is about."""

    TOPIC = "topic"
    #: a consumer group or a share group
    GROUP = "group"


class Operation(StrEnum):
    """What may be done; reading and writing include that it may be seen that the resource is there."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    DESCRIBE = "describe"
    DESCRIBE_CONFIGS = "describe_configs"
    ALTER_CONFIGS = "alter_configs"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """An operation on a resource, or where `prefixed` on all whose names begin so; nothing is ever denied by one."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False

    def covers(self, resource: Resource, name: str, operation: Operation) -> bool:
        """Say whether a broker would allow the operation for this right."""
        named = name.startswith(self.name) if self.prefixed else name == self.name
        return named and resource is self.resource and operation in _INCLUDED.get(self.operation, {self.operation})


_SEEN = frozenset({Operation.DESCRIBE})
#: What a right to one operation includes (Kafka's `AclOperation`).
_INCLUDED = {
    Operation.READ: _SEEN | {Operation.READ},
    Operation.WRITE: _SEEN | {Operation.WRITE},
    Operation.ALTER_CONFIGS: frozenset({Operation.ALTER_CONFIGS, Operation.DESCRIBE_CONFIGS}),
}
