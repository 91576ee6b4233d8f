"""One attempt of a job, from its directory to its result (spec §3.1).

Whatever happens becomes a result: a failed one says why, and the work directory is closed either way.
"""

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pipeline.containers.errors import EngineError, UnavailableError
from pipeline.containers.outcome import Outcome
from pipeline.containers.output import Observer
from pipeline.containers.spec import Labels, RunSpec
from pipeline.containers.stop import Level, Stop
from pipeline.containers.threads import in_thread
from pipeline.crash_points import here
from pipeline.processors import chain
from pipeline.processors.processor import Processor, ProcessorError
from pipeline.secrets import Given, SecretError, named_in
from pipeline.work import command as commands
from pipeline.work import context as contexts
from pipeline.work import files, request, run_script, verdict
from pipeline.work.conclusion import Conclusion
from pipeline.work.errors import AttemptError, Category, Failure
from pipeline.work.metrics import MetricsError, collect
from pipeline.work.place import Place
from pipeline.work.result import Result
from pipeline.work.seams import Announce, Prepare, Publish, Seams, transferred
from pipeline.work.supplying import Supply, supplied

T = TypeVar("T")


async def run_attempt(
    document: Mapping[str, Any],
    place: Place,
    *,
    attempt: int,
    holder: str,
    task_id: str,
    stop: Stop | None = None,
    announce: Announce | None = None,
    supply: Supply | None = None,
    prepare: Prepare | None = None,
    publish: Publish | None = None,
    pre: Sequence[Processor] = (),
    post: Sequence[Processor] = (),
    observer: Observer | None = None,
) -> Result:
    """Run one attempt of the job that `document` describes (the `job` of spec §3.2).

    Never raises: what goes wrong, in the seams too, is a failed result. `supply` makes the job's images known (without,
    only those are that the engine has). `prepare` is followed by the processors `pre`, one of which may say that the
    command is not to run: then nothing is published, and that is no failure. Those of `post` are all called after
    success and failure, in order; one that fails makes the attempt fail, if it didn't already. They are not called once
    a stop was asked for. A stop cancels `supply`, `prepare` and processors. `publish` is called only after exit code 0
    and usable metrics, and not if a stop was asked for by then; once called it is left to its own end (it decides what
    a stop still means). `observer` sees what the command prints, and that it ended. A caller that is cancelled gets its
    CancelledError once the command is dead and the directory closed.
    """
    labels = Labels(job=str(document.get("job_id") or ""), attempt=attempt, holder=holder, worker=place.worker)
    run = _Attempt(document, place, labels, task_id, stop or Stop(), observer)
    cancelled: asyncio.CancelledError | None = None
    try:
        try:
            await run.live(Seams(supply, prepare, pre, announce, publish))
        except Exception as error:
            run.conclusion.fail(Failure.of(error))
        await run.follow_up(post)
    except asyncio.CancelledError as error:
        run.conclusion.fail(Failure("cancelled", Category.STOPPED, ""))
        cancelled = error
    except Exception as error:
        run.conclusion.fail(Failure.of(error))
    ending = asyncio.ensure_future(in_thread(run.conclusion.result))
    try:
        result = await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait({ending})
        raise
    here("worker.directory-closed")
    if cancelled is not None:
        raise cancelled
    return result


class _Attempt:
    def __init__(
        self,
        document: Mapping[str, Any],
        place: Place,
        labels: Labels,
        task_id: str,
        stop: Stop,
        observer: Observer | None,
    ) -> None:
        self._observer = observer
        self._document = document
        self._place = place
        self._labels = labels
        self._task_id = task_id
        self._stop = stop
        self.conclusion = Conclusion(document, place, datetime.now(UTC), task_id)

    async def live(self, seams: Seams) -> None:
        """Go through the attempt's life, as far as it gets."""
        conclusion, limit = self.conclusion, self._place.transfer_timeout
        directory = await in_thread(conclusion.open, self._labels)
        command = self._command()
        # what a job may not have, or can't, it needn't bring inputs for
        given = await in_thread(self._secrets, command)
        conclusion.mask = given.mask
        spec = await self._make_ready(directory, command, seams.supply)
        if seams.prepare is not None:
            bringing = transferred(seams.prepare, directory, Category.INPUTS, self._document, limit)
            conclusion.inputs.extend(await self._unless_stopped(bringing))
        go_on = await self._call_before(seams.pre, directory)
        here("worker.files-written")
        if seams.announce is not None:
            await seams.announce(dict(conclusion.job_info))
        self._heed_stop()
        if not go_on:
            conclusion.skip_command()
            return
        conclusion.begin_command(datetime.now(UTC))
        here("worker.started-said")
        # only here: no file that is written before has them
        watched = replace(spec, observer=self._observer, env={**spec.env, **given.env}, mask=given.mask)
        outcome = await self._place.engine.run(watched, self._stop, lambda pid: _write_pid(directory, pid))
        here("worker.command-ended")
        await self._end_command(outcome, spec)
        if self._observer is not None:
            self._observer.ended()
        if conclusion.failed:
            return
        await in_thread(self._measure, directory)
        self._heed_stop()
        if seams.publish is not None:
            publishing = transferred(seams.publish, directory, Category.PUBLISH, conclusion.job(), limit)
            conclusion.products.extend(await publishing)

    async def follow_up(self, processors: Sequence[Processor]) -> None:
        """Call the post-processors; what goes wrong is in the conclusion."""
        conclusion, path = self.conclusion, self.conclusion.whole
        if path is None or conclusion.stopped or not processors:
            return
        await in_thread(conclusion.read_context, path)
        job = conclusion.ended_job()
        calling = chain.after(processors, path, job, conclusion.context, self._place.processor_timeout)
        try:
            errors = await self._unless_stopped(calling)
        except AttemptError as error:
            conclusion.note(f"post-processors: {error}")
            return
        if errors and not conclusion.failed:
            conclusion.fail(Failure.of(AttemptError("; ".join(errors), Category.PROCESSOR)))
        else:
            for said in errors:
                conclusion.note(said)

    async def _call_before(self, processors: Sequence[Processor], directory: Path) -> bool:
        if not processors:
            return True
        conclusion = self.conclusion
        job = conclusion.job()
        calling = chain.before(processors, directory, job, conclusion.context, self._place.processor_timeout)
        try:
            said = await self._unless_stopped(calling)
        except ProcessorError as error:
            raise AttemptError(str(error), Category.PROCESSOR) from error
        conclusion.context = dict(said.context)
        await in_thread(files.write_json, directory / files.CONTEXT, conclusion.context)
        return said.go_on

    async def _make_ready(self, directory: Path, command: commands.Command, supply: Supply | None) -> RunSpec:
        conclusion, engine = self.conclusion, self._place.engine
        spec = request.build(self._document, command, self._place, self._labels, directory)
        container = request.container_fields(self._document, command)
        if engine.needs_image:
            dependencies = request.dependencies(self._document, command)
            supplying = supplied(engine, supply, [container, *dependencies])
            conclusion.supplied(await self._unless_stopped(supplying), dependencies)
        conclusion.context = contexts.build(
            self._document, container, self._task_id, conclusion.image_id, conclusion.dependencies
        )
        spec = replace(spec, image_id=conclusion.image_id)
        try:
            await in_thread(self._write_files, directory, spec)
        except UnavailableError as error:
            raise AttemptError(str(error), Category.WORKER) from error
        except EngineError as error:
            raise AttemptError(str(error)) from error
        except OSError as error:
            raise AttemptError(f"{directory} can't be written to: {error.strerror}", Category.WORK_DIR) from error
        return spec

    def _write_files(self, directory: Path, spec: RunSpec) -> None:
        engine = self._place.engine
        files.write_json(directory / files.CONTEXT, self.conclusion.context)
        files.write_json(directory / files.JOB, self.conclusion.job())
        specs = [spec, *(request.of_dependency(spec, one) for one in self.conclusion.dependencies)]
        # an image that is both the job's own and a dependency is shown as the job's own
        if params := {one.image: made for one in reversed(specs) if (made := engine.describe(one))}:
            files.write_json(directory / files.DOCKER_PARAMS, params)
        files.write(directory / files.RUN_SCRIPT, run_script.render(spec, engine), 0o755)

    def _command(self) -> commands.Command:
        try:
            return commands.build(self._document, self._place.worker_config)
        except AttemptError:
            if self._place.engine.needs_command:
                raise
            return commands.Command(())

    def _secrets(self, command: commands.Command) -> Given:
        named = named_in([self._document.get("params") or {}, command.argv])
        job_type = str(self._document.get("type") or "")
        trusted = self._place.worker_config is not None or isinstance(self._document.get("command"), Mapping)
        # a known command in an image of the submitter's runs what the submitter put there
        trusted = trusted and not (self._place.engine.needs_image and request.is_submitters(self._document, command))
        try:
            return self._place.vault.given(named, command.env, job_type, registered=trusted)
        except SecretError as error:
            raise AttemptError(str(error), Category.INVALID if error.refused else Category.WORKER) from error

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work does; a stop cancels it, and is raised once it has ended."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.beyond(Level.NONE))
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait({working})
        raise self._stopped()

    async def _end_command(self, outcome: Outcome, spec: RunSpec) -> None:
        self.conclusion.end_command(outcome)
        if outcome.succeeded:
            return
        if outcome.oom:
            # what a retry with more memory begins from
            self.conclusion.job_info["memory_limit_mib"] = spec.memory_mib
        failure = await in_thread(self._judge, outcome, spec)
        if failure is None:
            return
        self.conclusion.fail(failure)
        if failure.category in (Category.SOFT_LIMIT, Category.HARD_LIMIT, Category.STOPPED, Category.OOM):
            said = f"\n[jobstream] {failure.error}\n".encode()
            await in_thread(self._note, spec, said)
            if self._observer is not None:
                self._observer.told("stderr", said)

    def _judge(self, outcome: Outcome, spec: RunSpec) -> Failure | None:
        self.conclusion.regain()
        if self.conclusion.whole is None:
            spec = replace(spec, stderr=Path(os.devnull))
        return verdict.failure(outcome, spec, self._stop.reason)

    def _note(self, spec: RunSpec, said: bytes) -> None:
        if self.conclusion.whole is not None:
            files.append(spec.stderr, said)

    def _measure(self, directory: Path) -> None:
        self.conclusion.regain()
        if directory.is_symlink():
            raise AttemptError(f"the job put a link in place of {directory}", Category.COMMAND)
        try:
            self.conclusion.metrics = collect(directory)
        except MetricsError as error:
            raise AttemptError(f"unusable metrics: {error}", Category.COMMAND) from error

    def _heed_stop(self) -> None:
        if self._stop.level is not Level.NONE:
            raise self._stopped()

    def _stopped(self) -> AttemptError:
        return AttemptError(f"stopped: {self._stop.reason or 'on request'}", Category.STOPPED)


def _write_pid(directory: Path, pid: int) -> None:
    with suppress(OSError):
        files.write(directory / files.PID, f"{pid}\n".encode())
