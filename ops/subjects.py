"""The schema registry's subjects, one a topic: what it has of our schemas, and registering what is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agents.registry import ConfluentRegistry, RegistryError
from pipeline.settings import Settings
from schemas.check import published

#: How a subject stands: the registry has the newest version, has it not yet, or would refuse it.
CURRENT, MISSING, REFUSED = "current", "missing", "refused"
#: What came of registering.
REGISTERED, UNCHANGED = "registered", "unchanged"
#: The rule that is set, and those that an operator may have set which ask for at least as much.
BACKWARD = "BACKWARD"
STRICT = frozenset({BACKWARD, "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"})

#: Is told a subject, how many are done, and how many there are.
Tell = Callable[[str, int, int], None]


class NoRegistryError(ValueError):
    """No registry is configured."""


class RefusedSchemaError(ValueError):
    """The registry doesn't take a schema; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject as the registry has it; `version` is its own number for our newest schema, `why` what it minds."""

    name: str
    schema: str
    state: str
    rule: str
    version: int | None = None
    why: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """The newest schema is there, and nothing that couldn't read it can come after it."""
        return self.state == CURRENT and self.rule in STRICT


def registry_of(settings: Settings) -> ConfluentRegistry:
    """Return the registry that the settings name; NoRegistryError where they name none."""
    url = settings.kafka.registry_url
    if url is None:
        raise NoRegistryError(
            "no schema registry is configured: set JOBSTREAM_KAFKA__REGISTRY_URL to its Confluent API"
        )
    return ConfluentRegistry(url, settings.kafka.registry_timeout)


def check(settings: Settings, registry: ConfluentRegistry, tell: Tell) -> Iterator[Subject]:
    """Yield every subject as it stands; OSError where the registry can't be reached. Nothing is changed."""
    wanted = settings.topology.subjects()
    for done, (subject, name) in enumerate(wanted):
        tell(subject, done, len(wanted))
        yield _subject(registry, subject, name)


def register(settings: Settings, registry: ConfluentRegistry, tell: Tell) -> Iterator[tuple[str, str]]:
    """Have every subject know our newest schema under a rule that is BACKWARD at least; yield (subject, outcome).

    Of a subject that lacks the newest, each published version is registered, the eldest first, and so the registry
    knows what older records were written by. Repeating it changes nothing. Raises RefusedSchemaError at the first
    one that is refused, OSError where the registry can't be reached; what was registered before stays.
    """
    wanted = settings.topology.subjects()
    for done, (subject, name) in enumerate(wanted):
        tell(subject, done, len(wanted))
        yield subject, _registered(registry, subject, name)


def _registered(registry: ConfluentRegistry, subject: str, name: str) -> str:
    versions = [schema for _, schema in published(name)]
    missing = [] if registry.version_of(subject, versions[-1]) is not None else _unknown(registry, subject, versions)
    for schema in missing:
        try:
            registry.id_of(subject, schema)
        except RegistryError as error:
            raise RefusedSchemaError(
                f"{error}. Somebody registered another schema there, which this version of {name} can't read: look at "
                "the subject's versions, take that one back, or use another JOBSTREAM_TOPICS__PREFIX"
            ) from error
    # asked now: Apicurio has no rule for a subject without versions, and one that has versions may have none of its own
    ruled = registry.rule(subject) in STRICT
    if not ruled:
        registry.set_rule(subject, BACKWARD)
    return REGISTERED if missing or not ruled else UNCHANGED


def _unknown(registry: ConfluentRegistry, subject: str, versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [schema for schema in versions if registry.version_of(subject, schema) is None]


def _subject(registry: ConfluentRegistry, subject: str, name: str) -> Subject:
    newest = published(name)[-1][1]
    rule, version = registry.rule(subject), registry.version_of(subject, newest)
    if version is not None:
        return Subject(subject, name, CURRENT, rule, version)
    why = registry.misfits(subject, newest)
    return Subject(subject, name, REFUSED if why else MISSING, rule, None, why)
