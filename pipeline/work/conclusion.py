"""What is gathered during an attempt, and the result that is made of it at the end."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.containers.outcome import Outcome
from pipeline.containers.spec import Labels
from pipeline.containers.tail import tail_text
from pipeline.secrets import Mask
from pipeline.shortening import short_error
from pipeline.statuses import Status
from pipeline.work import context as contexts
from pipeline.work import files
from pipeline.work.directory import WorkDirectory
from pipeline.work.errors import Category, Failure
from pipeline.work.metrics import Metrics, MetricsError, collect, size_of
from pipeline.work.overrides import Overrides
from pipeline.work.place import Place
from pipeline.work.result import Result

#: Bytes of a failed command's output that `job_info` shows.
_SHOWN = 2048
#: What is said of an attempt whose directory could not be read.
_NO_METRICS = {
    "inputs_localized": [],
    "products_staged": [],
    "product_provenance": {},
    "job_dir_size": 0,
    "usage_stats": [],
}


class Conclusion:
    """Filled by the attempt; `result` closes the directory and may be called whatever state the attempt got to."""

    def __init__(self, document: Mapping[str, Any], place: Place, start: datetime, task_id: str) -> None:
        """Begin at `start`."""
        self._document = document
        self._task_id = task_id
        self._place = place
        self._start = start
        self._directory: WorkDirectory | None = None
        self._outcome: Outcome | None = None
        self._failure: Failure | None = None
        self._notes: list[str] = []
        self._read = False
        self.image_id: str | None = None
        self.dependencies: list[Mapping[str, Any]] = []
        self.context: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.products: list[Any] = []
        self.metrics: Metrics | None = None
        self.mask = Mask()
        self.job_info: dict[str, Any] = {
            "time_start": iso(start),
            "execute_node": place.execute_node,
            "public_ip": place.facts.get("hysds_public_ip"),
            "facts": dict(place.facts),
        }
        if place.datasets_file is not None:
            self.job_info["datasets_cfg_file"] = str(place.datasets_file)

    @property
    def failed(self) -> bool:
        """Whether the attempt already can't succeed any more."""
        return self._failure is not None

    @property
    def stopped(self) -> bool:
        """Whether the attempt ends because it was asked to."""
        return self._failure is not None and self._failure.category is Category.STOPPED

    @property
    def path(self) -> Path | None:
        """The work directory, once it is made."""
        return self._directory.path if self._directory else None

    @property
    def whole(self) -> Path | None:
        """The work directory, if it is made and no job removed it or put a link in its place."""
        return self._directory.path if self._directory and self._directory.is_there else None

    def open(self, labels: Labels) -> Path:
        """Make the work directory and return its path; raises AttemptError."""
        root = self._place.root
        self._directory = root.create(labels.job, labels.attempt, self._start)
        path = self._directory.path
        self.job_info.update(job_dir=str(path), context_file=str(path / files.CONTEXT))
        if self._place.url:
            self.job_info["job_url"] = f"{self._place.url.rstrip('/')}/{root.relative(path)}"
        return path

    def supplied(self, images: Sequence[Mapping[str, Any]], dependencies: Sequence[Mapping[str, Any]]) -> None:
        """Note the ids of the job's image and of those that it depends on, whose container fields are given."""
        self.job_info["images"] = [dict(one) for one in images]
        self.image_id, *ids = [str(one["id"]) for one in images]
        self.dependencies = [
            {**fields, "container_image_id": found} for fields, found in zip(dependencies, ids, strict=True)
        ]

    def regain(self) -> None:
        """Make sure that what the command left can be read."""
        if self._directory is not None:
            self._directory.regain()

    def begin_command(self, time: datetime) -> None:
        """Note when the command was begun."""
        self.job_info["cmd_start"] = iso(time)

    def end_command(self, outcome: Outcome) -> None:
        """Note how the command ended."""
        self._outcome = outcome
        self.image_id = outcome.image_id or self.image_id
        self._notes.extend(outcome.notes)
        self.job_info.update(
            cmd_start=iso(outcome.started),
            cmd_end=iso(outcome.ended),
            cmd_duration=round(outcome.duration_s, 6),
            pid=outcome.pid,
        )

    def skip_command(self) -> None:
        """Note that the command was not run, which is no failure (spec §3.1 step 16)."""
        self.job_info.update(pid=0)
        self._notes.append("a pre-processor said that the command is not to run")

    def note(self, text: str) -> None:
        """Note what went amiss without being why the attempt fails."""
        self._notes.append(text)

    def fail(self, failure: Failure) -> None:
        """Note why the attempt fails; the first reason stays."""
        self._failure = self._failure or failure

    def ended_job(self) -> dict[str, Any]:
        """Return the job's document as post-processors see it: with how it ended, as far as that is known by then."""
        made = self.job()
        made["job_info"] = {**made["job_info"], "status": self._exit_status()}
        failure = self._failure
        return {**made, "status": self._status().value, **({"error": failure.error} if failure else {})}

    def job(self) -> dict[str, Any]:
        """Return the job's document as `_job.json` shows it."""
        info = {**(self._document.get("job_info") or {}), **self.job_info}
        named = {"task_id": self._task_id, "container_image_id": self.image_id}
        images = {"dependency_images": self.dependencies} if self.dependencies else {}
        return {**self._document, **named, **images, "job_info": info}

    def result(self) -> Result:
        """Read back what the job left, write the last files, close the directory, and return the result."""
        path, overrides = self.path, Overrides()
        try:
            whole = self.whole
            if whole is not None:
                overrides = Overrides.read(whole)
                self.read_context(whole)
            self._complete_job_info(whole)
        except Exception as unforeseen:
            # whatever a job left: the directory is closed, and the attempt has a result
            self.fail(Failure.of(unforeseen))
            self.job_info.update(time_end=iso(datetime.now(UTC)), status=self._exit_status(), metrics=_NO_METRICS)
        if self._directory is not None:
            self._close(self._directory)
        failure = self._failure
        error = (overrides.error or failure.error) if failure else None
        return Result(
            status=self._status(),
            exit_code=self._outcome.exit_code if self._outcome else None,
            job_info=self.job_info,
            job_dir=path,
            error=error,
            short_error=short_error(error) if error else None,
            traceback=(overrides.traceback or failure.traceback) if failure else None,
            signum=failure.signum if failure else None,
            category=failure.category if failure else None,
            container_image_id=self.image_id,
            msg=overrides.msg,
            msg_details=overrides.msg_details,
            context=self.context,
            stopped=self.stopped,
            oom=self._outcome is not None and self._outcome.oom,
            notes=tuple(self._notes),
            mask=self.mask,
        )

    def _status(self) -> Status:
        if self._failure is None:
            return Status.COMPLETED
        return Status.REVOKED if self._failure.category is Category.STOPPED else Status.FAILED

    def read_context(self, path: Path) -> None:
        """Take over the context as the command left it, the first time this is called after one."""
        if self._outcome is None or self._read:
            return
        self._read = True
        try:
            self.context = contexts.read_back(path)
        except ValueError as error:
            self._notes.append(f"the context stays as it was: {error}")

    def _complete_job_info(self, path: Path | None) -> None:
        end = datetime.now(UTC)
        self.job_info.update(
            time_end=iso(end),
            duration=round((end - self._start).total_seconds(), 6),
            status=self._exit_status(),
            stdout=_shown(path, files.STDOUT) if self._failure else "",
            stderr=_shown(path, files.STDERR) if self._failure else "",
            metrics=self._all_metrics(path),
        )

    def _exit_status(self) -> int:
        code = self._outcome.exit_code if self._outcome else 0
        return (code or 1) if self._failure else code

    def _all_metrics(self, path: Path | None) -> dict[str, Any]:
        measured = self.metrics or self._measure_late(path)
        self._notes.extend(measured.notes)
        return {
            "inputs_localized": [*self.inputs, *measured.inputs_localized],
            "products_staged": [*measured.products_staged, *self.products],
            "product_provenance": {},
            "job_dir_size": measured.job_dir_size,
            "usage_stats": [*self._usage(), *measured.usage_stats],
        }

    def _measure_late(self, path: Path | None) -> Metrics:
        if path is None:
            return Metrics()
        try:
            return collect(path)
        except MetricsError as error:
            return Metrics(job_dir_size=size_of(path), notes=[str(error)])

    def _usage(self) -> list[dict[str, Any]]:
        outcome = self._outcome
        if outcome is None or outcome.usage is None:
            return []
        usage = outcome.usage
        return [
            {
                "wall_time": round(outcome.duration_s, 6),
                "user_cpu_time": usage.user_cpu_s,
                "sys_cpu_time": usage.system_cpu_s,
                "max_memory": usage.max_memory,
                "read_bytes": usage.read_bytes,
                "written_bytes": usage.written_bytes,
            }
        ]

    def _close(self, directory: WorkDirectory) -> None:
        if directory.is_there:
            with suppress(OSError):
                code = f"{self.job_info['status']}\n".encode()
                files.write_held(directory.path / files.EXIT_CODE_HOLD, directory.path / files.EXIT_CODE, code)
            with suppress(OSError, RecursionError):
                files.write_json(directory.path / files.JOB, self.job())
        else:
            self._notes.append(f"{directory.path} is gone: the job removed, renamed or replaced it")
        try:
            directory.close()
        except OSError as error:
            self._notes.append(f"{directory.path} was not closed: {error.strerror}")


def iso(time: datetime) -> str:
    """Return a time in UTC with microseconds and `Z` (spec §1.6)."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _shown(path: Path | None, name: str) -> str:
    return tail_text(path / name, _SHOWN) if path else ""
