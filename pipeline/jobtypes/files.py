"""Job types from files: one JSON file each, or HySDS's pairs of `job-spec.json.NAME` and `hysds-io.json.NAME`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.jobtypes import job_type
from pipeline.jobtypes.job_type import LIMIT, JobType
from pipeline.jobtypes.problems import InvalidError, Problem, kind
from pipeline.submission.numbers import check_integers

_SPEC = re.compile(r"job-spec\.json\.(.+)|(.+)\.job-spec\.json")
_IO = re.compile(r"hysds-io\.json\.(.+)|(.+)\.hysds-io\.json")
_PREFIXES = ("job-", "hysds-io-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a pair of files doesn't say: its version, image and queue; a type's own file is overridden by them."""

    version: str | None = None
    image: str | None = None
    image_url: str | None = None
    queue: str | None = None

    def over(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with these put over it."""
        changed = dict(raw)
        if self.version is not None:
            changed["version"] = self.version
        if self.queue is not None:
            changed["queue"] = self.queue
        if self.image is not None:
            changed["container"] = {"name": self.image, **({"url": self.image_url} if self.image_url else {})}
        return changed


@dataclass(frozen=True, slots=True)
class Read:
    """What was read: each type, or everything that is wrong with it, beside the files that it came from."""

    files: tuple[Path, ...]
    raw: Mapping[str, Any]
    problems: tuple[Problem, ...]

    @property
    def advice(self) -> list[str]:
        """What could be better where nothing is wrong."""
        return [] if self.problems else job_type.advice(self.raw)

    def made(self) -> JobType:
        """Return the type; raises InvalidError naming the files."""
        if self.problems:
            raise InvalidError(self.problems)
        return JobType.of(self.raw)


def read(paths: Sequence[Path], extra: Extra | None = None) -> list[Read]:
    """Read types from files, and from all in folders, in the order of their names; raises OSError for none there."""
    extra = extra or Extra()
    found = list(dict.fromkeys(file for path in paths for file in _files(path)))
    ios = {named: file for file in found if (named := _named(_IO, file)) is not None}
    specs = {named: file for file in found if (named := _named(_SPEC, file)) is not None}
    whole = [file for file in found if file not in {*ios.values(), *specs.values()}]
    lonely = [_lonely(file) for named, file in ios.items() if named not in specs]
    return [
        *(_checked((file,), extra, _whole) for file in whole),
        *(_checked((file, *([ios[named]] if named in ios else [])), extra, _pair) for named, file in specs.items()),
        *lonely,
    ]


def load(paths: Sequence[Path], extra: Extra | None = None) -> list[JobType]:
    """Read types like `read`; raises InvalidError with all that is wrong with any, OSError, and for two of one id."""
    types = read(paths, extra)
    if found := [problem for one in types for problem in one.problems]:
        raise InvalidError(found)
    made = [one.made() for one in types]
    ids = [one.id for one in made]
    if again := [one for number, one in enumerate(ids) if one in ids[:number]]:
        raise InvalidError(Problem(one, "$", "a second type of this name and version", "one") for one in again)
    return made


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and _is_type(file))


def _is_type(file: Path) -> bool:
    named = _SPEC.fullmatch(file.name) or _IO.fullmatch(file.name)
    return not file.name.startswith(".") and (named is not None or file.suffix == ".json")


def _named(pattern: re.Pattern[str], file: Path) -> tuple[Path, str] | None:
    found = pattern.fullmatch(file.name)
    return None if found is None else (file.parent, found[1] or found[2])


def _lonely(file: Path) -> Read:
    problem = Problem(file.name, "$", "a hysds-io alone", "its job-spec beside it, and both named")
    return Read((file,), {}, (problem,))


def _checked(files: tuple[Path, ...], extra: Extra, assemble: Any) -> Read:
    documents = []
    for file in files:
        document = _parsed(file)
        if isinstance(document, Problem):
            return Read(files, {}, (document,))
        documents.append(document)
    raw = extra.over(assemble(files, *documents))
    return Read(files, raw, tuple(_in_files(files, job_type.problems(raw))))


def _whole(_: tuple[Path, ...], document: Mapping[str, Any]) -> Mapping[str, Any]:
    return document


def _pair(files: tuple[Path, ...], spec: Mapping[str, Any], io: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the type that a pair is: its name from the files, its version from the spec's own id if it has one."""
    named = _named(_SPEC, files[0])
    given, _, version = str(spec.get("id") or "").partition(":")
    version = version or str(spec.get("job-version") or "")
    container = {"name": spec["container"]} if isinstance(spec.get("container"), str) else None
    return {
        "name": _bare(given) or (named[1] if named else files[0].stem),
        **({"version": version} if version else {}),
        "job_spec": spec,
        **({"hysds_io": io} if io is not None else {}),
        **({"container": container} if container else {}),
    }


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _in_files(files: tuple[Path, ...], problems: Iterable[Problem]) -> Iterable[Problem]:
    """Name the file in place of the kind of document, so that one knows which to open."""
    by_kind = {"job-spec": files[0].name, "hysds-io": files[-1].name}
    nested = {"job-spec": "job_spec", "hysds-io": "hysds_io"} if _named(_SPEC, files[0]) is None else {}
    for one in problems:
        inner = nested.get(one.document)
        path = one.path if inner is None else f"$.{inner}{one.path.removeprefix('$')}"
        yield Problem(by_kind.get(one.document, files[0].name), path, one.found, one.expected)


def _parsed(file: Path) -> dict[str, Any] | Problem:
    with file.open("rb") as opened:
        data = opened.read(LIMIT + 1)
    if len(data) > LIMIT:
        return Problem(file.name, "$", f"more than {LIMIT} bytes", "a job type")
    try:
        check_integers(data)
        document = orjson.loads(data)
    except (ValueError, RecursionError) as error:
        return Problem(file.name, "$", f"no JSON: {error}", "a JSON object")
    if not isinstance(document, dict):
        return Problem(file.name, "$", kind(document), "a JSON object")
    return document
