"""From a job's document to what an engine is asked to run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.containers.errors import RefusedError
from pipeline.containers.options import Options
from pipeline.containers.spec import Labels, Mount, RunSpec
from pipeline.messages.trace import Trace
from pipeline.work import files
from pipeline.work.command import Command
from pipeline.work.errors import AttemptError
from pipeline.work.place import Limits, Place, time_limit

_CONTAINER = (
    "container_image_name",
    "container_image_url",
    "container_image_urls",
    "container_mappings",
    "runtime_options",
)
#: Images that a job may depend on.
_MAX_DEPENDENCIES = 20


def container_fields(document: Mapping[str, Any], command: Command) -> dict[str, Any]:
    """Return the document's container fields, those of the worker's configuration where it overrides the image.

    It overrides only with both name and URL; then mappings, options and URLs by architecture are its own too (spec
    §2.3; HySDS keeps the job's, of another image, where it has none).
    """
    own = {name: document.get(name) for name in _CONTAINER}
    config = command.config
    if config is None or not config.overrides_image:
        return own
    return {name: getattr(config, name) for name in _CONTAINER}


def is_submitters(document: Mapping[str, Any], command: Command) -> bool:
    """Say whether image or mappings are of the submitter's choice, and so what runs by the command's name."""
    config = command.config
    return document.get("container_of_submitter") is True and (config is None or not config.overrides_image)


def dependencies(document: Mapping[str, Any], command: Command) -> list[dict[str, Any]]:
    """Return the job's `dependency_images` (spec §2.1), those of the worker's configuration where that has some.

    Raises AttemptError for a malformed list.
    """
    config = command.config
    entries = (config.dependency_images if config is not None else ()) or document.get("dependency_images") or ()
    if not isinstance(entries, list | tuple) or not all(isinstance(one, Mapping) for one in entries):
        raise AttemptError("dependency_images is no list of objects")
    if len(entries) > _MAX_DEPENDENCIES:
        raise AttemptError(f"{len(entries)} dependency_images are more than {_MAX_DEPENDENCIES}")
    return [{name: one.get(name) for name in _CONTAINER} for one in entries]


def of_dependency(spec: RunSpec, container: Mapping[str, Any]) -> RunSpec:
    """Return the job's own request with the image, mounts and options of one that it depends on (spec §6).

    Raises AttemptError for malformed ones.
    """
    options = _options(container)
    return replace(
        spec,
        image=str(container["container_image_name"]),
        image_id=None,
        mounts=mounts(container["container_mappings"] or {}),
        memory_mib=min(spec.memory_mib, options.memory_mib or spec.memory_mib),
        cpus=min(spec.cpus, options.cpus or spec.cpus),
        pids_limit=min(spec.pids_limit, options.pids_limit or spec.pids_limit),
        shm_mib=options.shm_mib or spec.shm_mib,
        network=options.network or "none",
        gpus=options.gpus,
    )


def build(document: Mapping[str, Any], command: Command, place: Place, labels: Labels, directory: Path) -> RunSpec:
    """Return the request.

    Memory and processors come from `needs`, else the place's limits; runtime options can only lower them, but for the
    memory that a retry gave the job because it had run out of it (`grown`). Raises
    AttemptError for malformed needs, limits, mappings and options; whether a mount is allowed, the engine says.
    """
    container = container_fields(document, command)
    limits = Limits.of(document.get("needs") or {}, place.limits)
    info = document.get("job_info") or {}
    options = _options(container)
    return RunSpec(
        argv=command.argv,
        # the submission's trace goes before what a job type says for all its jobs
        env={**command.env, **Trace.within(document).environment()},
        working_dir=directory,
        stdout=directory / files.STDOUT,
        stderr=directory / files.STDERR,
        labels=labels,
        image=container["container_image_name"] or None,
        mounts=mounts(container["container_mappings"] or {}),
        user=place.user,
        memory_mib=_grown(document) or min(limits.memory_mib, options.memory_mib or limits.memory_mib),
        cpus=min(limits.cpus, options.cpus or limits.cpus),
        pids_limit=min(limits.pids, options.pids_limit or limits.pids),
        shm_mib=options.shm_mib or limits.shm_mib,
        network=options.network or "none",
        gpus=options.gpus or (document.get("needs") or {}).get("gpus") or None,
        soft_time_limit=time_limit(info, "soft_time_limit"),
        time_limit=time_limit(info, "time_limit", limits.time_limit),
        grace=place.grace,
        output_limit=place.output_limit,
        params=document.get("params") or {},
    )


def _options(container: Mapping[str, Any]) -> Options:
    try:
        return Options.of(container["runtime_options"] or {})
    except RefusedError as error:
        raise AttemptError(str(error)) from error


def _grown(document: Mapping[str, Any]) -> int:
    grown = document.get("grown") or {}
    return Limits.of(grown, Limits(memory_mib=0)).memory_mib


def mounts(mappings: Mapping[str, Any]) -> tuple[Mount, ...]:
    """Return the mounts of `container_mappings`: host path → container path, [path] or [path, mode] (spec §6).

    Without a mode they are read-only. Host paths are literal: variables are not expanded, for the value of one of
    the worker's is not the job's business. Raises AttemptError for any other shape.
    """
    if not isinstance(mappings, Mapping):
        raise AttemptError("container_mappings is no object")
    made = []
    for host, value in mappings.items():
        match value:
            case str(path) | [str(path)]:
                made.append(Mount(host, path))
            case [str(path), "ro" | "rw" as mode]:
                made.append(Mount(host, path, mode))
            case _:
                raise AttemptError(f"container_mappings: {host}: {value!r} is no path, [path] or [path, ro|rw]")
    return tuple(made)
