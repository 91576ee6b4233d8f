"""The server artifacts that jobstream downloads, each pinned by coordinate, size and SHA-256 in artifacts.lock.

`python -m ops.embedded.artifacts lock` is the maintainer's command that writes the lock anew after a version in `ROOTS`
was changed: it alone solves dependencies, everybody else downloads exactly what the lock names.
"""

import hashlib
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK_FILE = Path(__file__).with_name("artifacts.lock")

#: what each server is made of; the solver adds what these depend on
ROOTS: dict[str, tuple[str, ...]] = {
    "kafka": (
        "org.apache.kafka:kafka_2.13:4.3.1",
        # the broker speaks slf4j 1.7 and brings log4j 2, but nothing that connects them: without it nothing is logged
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    ),
    "elasticsearch": ("org.elasticsearch.distribution.integ-test-zip:elasticsearch:9.2.0",),
    "registry": ("io.apicurio:apicurio-registry-app:2.6.13.Final",),
    # the oldest line of brokers that everything is tested with
    "kafka-3.9": ("org.apache.kafka:kafka_2.13:3.9.2", "org.slf4j:slf4j-reload4j:1.7.36"),
    "connect": (
        "org.apache.kafka:connect-runtime:4.3.1",
        "org.apache.kafka:connect-file:4.3.1",
        "org.apache.kafka:connect-mirror:4.3.1",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    ),
    # plug-ins of a Connect worker: each in a folder of its own, since what they depend on differs
    "connect-avro": ("io.apicurio:apicurio-registry-utils-converter:2.6.13.Final",),
    "connect-postgres": ("io.debezium:debezium-connector-postgres:3.6.3.Final",),
    "tools": ("org.apache.kafka:kafka-tools:4.3.1",),
    # Java's, for tests: the runtime has none
    "compiler": ("org.eclipse.jdt:ecj:3.44.0",),
}

#: servers that come as one archive with all that they need inside, and its packaging and classifier; the others are
#: jars and what those depend on. Of Kafka's tools the one jar is enough, beside the broker's: most of what it depends
#: on is Connect's
ARCHIVED = {"elasticsearch": ("zip", ""), "registry": ("tar.gz", "all"), "tools": ("jar", ""), "compiler": ("jar", "")}
#: servers that an installation doesn't need: downloaded when they are asked for
OPTIONAL = frozenset({"registry", "kafka-3.9", "connect", "connect-avro", "connect-postgres", "tools", "compiler"})

_HEAD = "# Written by `python -m ops.embedded.artifacts lock`; checked by every download. Not for editing by hand.\n"


@dataclass(frozen=True)
class Artifact:
    """One file of a server: where Maven has it, and what its bytes must be."""

    server: str
    """One of `ROOTS`."""
    group: str
    name: str
    version: str
    packaging: str
    """`jar`, `zip` or `tar.gz`."""
    classifier: str
    """Mostly empty."""
    size: int
    """Bytes."""
    sha256: str
    """Of the whole file, in lower-case hexadecimal digits."""

    @property
    def filename(self) -> str:
        """The file's name, as Maven repositories have it."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{suffix}.{self.packaging}"

    @property
    def path(self) -> Path:
        """Where the file lies below a folder of artifacts."""
        return Path(*self.group.split("."), self.name, self.version, self.filename)

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lock(path: Path = LOCK_FILE) -> tuple[Artifact, ...]:
    """Return the artifacts that the lock file names, in its order."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(Artifact(**entry) for entry in document["artifact"])


def of_server(server: str, artifacts: Iterable[Artifact] | None = None) -> tuple[Artifact, ...]:
    """Return the artifacts of one server, the lock's unless others are given."""
    return tuple(one for one in (read_lock() if artifacts is None else artifacts) if one.server == server)


def write_lock(artifacts: Iterable[Artifact], path: Path = LOCK_FILE) -> None:
    """Write the lock file: one table an artifact, sorted, so that a change shows as a small difference."""
    tables = [
        "\n".join(["[[artifact]]", *(f"{key} = {_toml(value)}" for key, value in vars(one).items())])
        for one in sorted(artifacts, key=lambda one: (one.server, str(one)))
    ]
    path.write_text(_HEAD + "\n" + "\n\n".join(tables) + "\n", encoding="utf-8")


def _toml(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


def solve(server: str, roots: Sequence[str], folder: Path) -> list[Artifact]:
    """Download into `folder` the roots and all that they need at run time, and return what came, hashed."""
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=folder, timeout=60)
    if server in ARCHIVED:
        found = [_archive(context, root, *ARCHIVED[server]) for root in roots]
    else:
        # each root by itself: solved together, one root's dependency management would set the other's versions
        solved = [one for root in roots for one in _solve_one(context, root)]
        # of two versions the earlier root's stays
        found = list({(one.groupId, one.artifactId, one.classifier): one for one in reversed(solved)}.values())
    return [_hashed(server, one, one.resolve()) for one in found]


def _archive(context: Any, root: str, packaging: str, classifier: str) -> Any:
    group, name, version = root.split(":")
    return locate(context, group, name, version, classifier, packaging)


def _solve_one(context: Any, root: str) -> list[Any]:
    direct, transitive = context.resolver.resolve([context.create_dependency(root)])
    return [one.artifact for one in (*direct, *transitive) if one.scope != "test"]


def locate(context: Any, group: str, name: str, version: str, classifier: str = "", packaging: str = "jar") -> Any:
    """Return jgo's own object for one file of a Maven repository; nothing is downloaded yet."""
    return context.project(group, name).at_version(version).artifact(classifier=classifier, packaging=packaging)


def _hashed(server: str, found: Any, path: Path) -> Artifact:
    return Artifact(
        server=server,
        group=found.groupId,
        name=found.artifactId,
        version=found.version,
        packaging=found.packaging,
        classifier=found.classifier,
        size=path.stat().st_size,
        sha256=sha256_of(path),
    )


def main(arguments: Sequence[str]) -> int:
    """Write artifacts.lock anew from `ROOTS`; return the exit code."""
    if list(arguments) != ["lock"]:
        sys.stderr.write("usage: python -m ops.embedded.artifacts lock\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [one for server, roots in ROOTS.items() for one in solve(server, roots, Path(folder))]
    write_lock(artifacts)
    size = sum(one.size for one in artifacts)
    sys.stdout.write(f"{LOCK_FILE.name}: {len(artifacts)} artifacts, {size / (1 << 20):.0f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
