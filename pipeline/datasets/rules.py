"""The operator's `datasets.json`: which directories are which dataset, and where they are published (spec §4.3)."""

import re
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.datasets import templates
from pipeline.datasets.discovery import IndexChoice
from pipeline.datasets.errors import InvalidRules

#: Names that a template may use beside the pattern's named groups.
BUILT_IN = frozenset({"id", "version", "level", "type", "hostname", "dataset", "met"})
#: bytes
MAX_RULES = 4 << 20


def _checked_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_checked_pattern)]


class _Model(BaseModel):
    # Object stores' own settings (s3-profile-name and others) ride along untouched.
    model_config = ConfigDict(extra="allow", frozen=True)


class Publish(_Model):
    """Where a product goes: `location` inside the store, and the `urls` that others reach it by.

    `location` is a path relative to the store's root, or a URL below it; `urls` may also use `{location}`, the
    store's own URL of the product's files, and `{path}`, their path inside the store, for other URLs of the same.
    """

    location: str = Field(min_length=1)
    urls: list[str] = Field(default_factory=list)


class Browse(_Model):
    """Where the browse images go: with the product itself where `location` is left out."""

    location: str | None = None
    urls: list[str] = Field(default_factory=list)
    sort_order: list[Pattern] = Field(default_factory=list)


class Rule(_Model):
    """One entry. `ipath` is `<catalogue>/<dataset name>`; patterns are searched in the directory's path."""

    ipath: str = Field(pattern=r"^[^/]+/.+$")
    match_pattern: Pattern
    alt_match_pattern: Pattern | None = None
    version: str | None = None
    level: str | None = None
    type: str | None = None
    extractor: str | None = None
    index: IndexChoice | None = None
    publish: Publish | None = None
    browse: Browse | None = None

    @property
    def dataset(self) -> str:
        """The dataset's name: what follows the first '/' of `ipath`."""
        return self.ipath.split("/", 1)[1]

    @model_validator(mode="after")
    def _templates_can_be_filled(self) -> "Rule":
        groups = set(re.compile(self.match_pattern).groupindex)
        if self.alt_match_pattern:
            groups |= set(re.compile(self.alt_match_pattern).groupindex)
        clash = groups & {"hostname", "dataset", "met", "location", "path"}
        if clash:
            raise ValueError(f"a pattern's group can't be named {', '.join(sorted(clash))}")
        for part in (self.publish, self.browse):
            if part is None:
                continue
            if part.location:
                templates.check(part.location, BUILT_IN | groups)
            for url in part.urls:
                templates.check(url, BUILT_IN | groups | {"location", "path"})
        return self


class Rules(_Model):
    """All entries, in the order of the file: the first that matches wins."""

    datasets: list[Rule]


def parse(value: Any, source: str = "datasets.json") -> Rules:
    """Validate rules that are already decoded. Raises InvalidRules naming `source`, the entry and the field."""
    try:
        return Rules.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:10])
        raise InvalidRules(f"{source}: {faults}") from error


def load(path: Path) -> Rules:
    """Read rules from a file. Raises InvalidRules, also where the file is missing, too long or not JSON."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RULES + 1)
        if len(data) > MAX_RULES:
            raise InvalidRules(f"{path}: longer than {MAX_RULES} bytes")
        value = orjson.loads(data)
    except (OSError, orjson.JSONDecodeError) as error:
        raise InvalidRules(f"{path}: {error}") from error
    return parse(value, str(path))
