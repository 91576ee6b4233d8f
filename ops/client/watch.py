"""All facts as they come."""

from collections.abc import Iterator
from typing import Self

from ops.client.job import Job
from ops.reading.facts import News

#: s that one wait for the next fact takes, so that Ctrl-C is heard
_EVERY = 0.5


class Watch:
    """Iterates over jobs as their facts come, without end; sees all that is caused after it was made."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._stopped = self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Job]:
        return self

    def __next__(self) -> Job:
        while not self._stopped:
            job = self.next(_EVERY)
            if job is not None:
                return job
        raise StopIteration

    def next(self, timeout: float) -> Job | None:
        """Return the next fact's job, None where none came within `timeout` seconds."""
        fact = None if self._stopped else self._news.next(timeout)
        return None if fact is None else Job.of_fact(fact)

    def stop(self) -> None:
        """End the iteration, from any thread."""
        self._stopped = True

    def close(self) -> None:
        """End the iteration, and let go of the broker; in the thread that iterates."""
        if not self._closed:
            self._stopped = self._closed = True
            self._news.close()
