"""The client in an event loop: the same, awaited. No wait holds a thread; what asks the broker runs in one."""

import asyncio
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar, Unpack

from agents.bus import DeliveryError
from ops.client import submissions as made
from ops.client.bulk import Sent
from ops.client.bus import Bus
from ops.client.client import ANSWER_TIMEOUT, Client, not_stored
from ops.client.errors import NotYetError
from ops.client.handle import Handle, checked
from ops.client.job import Job
from ops.client.kafka_bus import DELIVERY_TIMEOUT
from ops.client.output import Output
from ops.client.progress import Tell, shown
from ops.client.submissions import Options
from ops.client.tracker import Call, Steps, Tracker
from ops.client.watch import Watch
from ops.submitting import Submission
from pipeline.settings import Settings

T = TypeVar("T")
#: submissions of an asynchronous iterable that are sent at a time
_BATCH = 500
_END: Any = object()


class AsyncClient:
    """`Client` for asyncio: see there for what each call means and raises. Use it within one event loop."""

    def __init__(
        self, settings: Settings | None = None, *, bootstrap: str | None = None, bus: Bus | None = None
    ) -> None:
        self._client = Client(settings, bootstrap=bootstrap, bus=bus)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Deliver what is queued, end every wait with ClosedError, and end all threads."""
        await asyncio.to_thread(self._client.close)

    #: Makes a submission for `submit_many`, of what `submit` takes.
    submission = staticmethod(made.submission)

    async def submit(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        *,
        submission_id: str | None = None,
        **options: Unpack[Options],
    ) -> "AsyncHandle":
        """Submit a job and return its handle once Kafka has stored the submission."""
        sent = made.submission(job_type, payload, submission_id, **options)
        handle, stored = await asyncio.to_thread(self._client.begin, sent, submission_id is None)
        try:
            await asyncio.wait_for(asyncio.wrap_future(stored), DELIVERY_TIMEOUT + 5)
        except (DeliveryError, TimeoutError) as error:
            raise not_stored(handle, error) from error
        return AsyncHandle(self, handle)

    async def submit_many(
        self, submissions: Iterable[Submission] | AsyncIterable[Submission], *, progress: bool | Tell = False
    ) -> Sent:
        """Send submissions, no faster than Kafka stores them; return how many it has confirmed: all of them."""
        if isinstance(submissions, Iterable):
            return await asyncio.to_thread(self._client.submit_many, submissions, progress=progress)
        with shown(progress) as tell, await asyncio.to_thread(self._client.bulk, tell) as bulk:
            batch: list[Submission] = []
            async for one in submissions:
                batch.append(one)
                if len(batch) == _BATCH:
                    if not await asyncio.to_thread(bulk.add, batch, None):
                        break
                    batch = []
            else:
                await asyncio.to_thread(bulk.add, batch, None)
            return await asyncio.to_thread(bulk.finish)

    async def handle(self, sent: Submission) -> "AsyncHandle":
        """Return the handle of a submission that was sent before, by anybody."""
        return AsyncHandle(self, await asyncio.to_thread(self._client.handle, sent))

    async def job(self, job_id: str) -> "AsyncHandle":
        """Return the handle of a job."""
        return AsyncHandle(self, await asyncio.to_thread(self._client.job, job_id))

    async def watch(self) -> "AsyncWatch":
        """Return an asynchronous iterator over what happens to any job from now on; it is its own context manager."""
        return AsyncWatch(await asyncio.to_thread(self._client.watch))

    async def list(self, **query: Any) -> Sequence[Job]:
        """Return the jobs that fit, the last changed first; takes what `Client.list` takes."""
        return await asyncio.to_thread(lambda: self._client.list(**query))

    async def logs(self, job_id: str, **options: Any) -> AsyncIterator[Output]:
        """Yield what a job printed; takes what `Client.logs` takes."""
        printed = self._client.logs(job_id, **options)
        async for one in _in_a_thread(printed):
            yield one

    async def revoke(self, job_id: str, reason: str = "", timeout: float = ANSWER_TIMEOUT) -> Job:  # noqa: ASYNC109
        """Stop a job, and return it as it is then."""
        return await asyncio.to_thread(self._client.revoke, job_id, reason, timeout)

    async def retry(self, job_id: str, reason: str = "", **options: Any) -> Job:
        """Run a job that has ended once more; takes what `Client.retry` takes."""
        return await asyncio.to_thread(lambda: self._client.retry(job_id, reason, **options))


class AsyncHandle:
    """`Handle` for asyncio."""

    def __init__(self, client: AsyncClient, handle: Handle) -> None:
        self._client = client
        self._handle = handle

    def __repr__(self) -> str:
        return f"Async{self._handle!r}"

    @property
    def submission_id(self) -> str | None:
        """The submission's id; None where it is a job's handle."""
        return self._handle.submission_id

    async def job_ids(self, timeout: float | None = 60.0) -> Sequence[str]:  # noqa: ASYNC109
        """Wait until the ledger has taken the submission; return the ids of its jobs."""
        return await _drive(self._handle.tracker, self._handle.tracker.taken(), timeout)

    async def job(self, timeout: float | None = 60.0) -> Job:  # noqa: ASYNC109
        """Return the job as it was last heard of; of several the first."""
        first = (await self.job_ids(timeout))[0]
        return Job.of_fact(self._handle.tracker.latest[first])

    async def results(self, timeout: float | None = None) -> Sequence[Job]:  # noqa: ASYNC109
        """Wait until all jobs have ended, and return how; in place of a duplicate its original."""
        steps = self._handle.tracker.ended(self._handle.follow)
        return [Job.of_fact(fact) for fact in await _drive(self._handle.tracker, steps, timeout)]

    async def result(self, timeout: float | None = None) -> Job:  # noqa: ASYNC109
        """Wait until the job has ended, and return how; raises JobFailedError or JobRevokedError."""
        return checked(await self.results(timeout))

    async def watch(self, timeout: float | None = None) -> AsyncIterator[Job]:  # noqa: ASYNC109
        """Yield the jobs' facts from the first one on, until all have ended."""
        tracker, seen = self._handle.tracker, 0
        await _drive(tracker, tracker.taken(), timeout)
        while True:
            if not await _wait(tracker, lambda: tracker.done() or len(tracker.history) > seen, timeout):  # noqa: B023
                raise NotYetError(f"nothing new of {self!r} within {timeout:g} s")
            more = tracker.history[seen:]
            seen += len(more)
            for fact in more:
                yield Job.of_fact(fact)
            if tracker.done() and len(tracker.history) == seen:
                return

    async def revoke(self, reason: str = "", timeout: float = ANSWER_TIMEOUT) -> Sequence[Job]:  # noqa: ASYNC109
        """Have all jobs stopped."""
        return [await self._client.revoke(job_id, reason, timeout) for job_id in await self.job_ids(timeout)]


class AsyncWatch:
    """`Watch` for asyncio; its waits run in a thread of its own, which `close` ends."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobstream-watch")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Job]:
        return self

    async def __anext__(self) -> Job:
        found = await self._call(lambda: next(self._watch, _END))
        if found is _END:
            raise StopAsyncIteration
        return found

    async def next(self, timeout: float) -> Job | None:  # noqa: ASYNC109
        """Return the next fact's job, None where none came within `timeout` seconds."""
        return await self._call(lambda: self._watch.next(timeout))

    async def close(self) -> None:
        """End the iteration, and the thread."""
        self._watch.stop()
        await self._call(self._watch.close)
        self._thread.shutdown()

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


async def _drive(tracker: Tracker, steps: Steps[T], timeout: float | None) -> T:  # noqa: ASYNC109
    """Go through the steps of a wait; raises NotYetError where they take longer than `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
        if isinstance(step, Call):
            answer = await asyncio.to_thread(step.function)
            continue
        answer = None
        if not await _wait(tracker, step.condition, None if deadline is None else deadline - loop.time()):
            raise NotYetError(f"{step.what} within {timeout:g} s")


async def _wait(tracker: Tracker, condition: Callable[[], bool], timeout: float | None) -> bool:  # noqa: ASYNC109
    """Wait until a condition holds that facts can change; False once the time is over."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    deadline = None if timeout is None else loop.time() + timeout
    leave = tracker.on_change(lambda: loop.call_soon_threadsafe(changed.set))
    try:
        while not condition():
            tracker.check()
            changed.clear()
            if condition():
                break
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                return False
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                continue
    finally:
        leave()
    return True


async def _in_a_thread(items: Iterator[T]) -> AsyncIterator[T]:
    """Yield what a blocking iterator yields; all of it is asked for in one thread."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="jobstream-logs") as thread:
        for _ in itertools.count():
            found = await loop.run_in_executor(thread, next, items, _END)
            if found is _END:
                return
            yield found
