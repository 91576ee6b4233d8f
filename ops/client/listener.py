"""One thread that hears all facts and hands each to those who wait for it."""

import threading
from weakref import WeakSet

from ops.client.errors import ClientError, ClosedError
from ops.client.tracker import Tracker
from ops.reading.facts import Facts, News
from pipeline.messages.fact import Fact

#: s between two looks whether to end
_EVERY = 0.2
#: names of trackers that are gone, after which they are looked through
_PRUNED = 1000


class Listener:
    """Begins to hear when the first tracker is added; forgets trackers that nobody holds any more."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._lock = threading.Lock()
        self._waiting = _Waiting()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, tracker: Tracker) -> None:
        """Have a tracker hear of its submission or job: of all that is caused once this returned."""
        with self._lock:
            if self._closing.is_set():
                raise ClosedError
            self._waiting.add(_family(tracker.family), tracker)
            self._waiting.add(_job(tracker.job_id) if tracker.job_id else _submission(tracker.submission_id), tracker)
            if self._thread is None:
                news = self._facts.follow(only=_Families(self._waiting))
                self._thread = threading.Thread(target=self._hear, args=(news,), name="jobstream-client", daemon=True)
                self._thread.start()

    def follow(self, job_id: str, tracker: Tracker) -> None:
        """Have a tracker hear of one more job, of a family that it hears of."""
        with self._lock:
            self._waiting.add(_job(job_id), tracker)

    def close(self) -> None:
        """End the thread, and every wait."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._end(ClosedError())

    def _hear(self, news: News) -> None:
        try:
            while not self._closing.is_set():
                fact = news.next(_EVERY)
                if fact is not None:
                    self._hand_on(fact)
        except Exception as problem:  # whoever waits must hear of it, whatever it is
            self._end(ClientError(f"facts can't be read any more: {problem}: make another client"))
        finally:
            news.close()

    def _hand_on(self, fact: Fact) -> None:
        with self._lock:
            found = self._waiting.of(_submission(fact.submission_id)) | self._waiting.of(_job(fact.job_id))
        for tracker in found:
            tracker.add(fact)

    def _end(self, problem: ClientError) -> None:
        self._closing.set()
        with self._lock:
            left = self._waiting.all()
        for tracker in left:
            tracker.fail(problem)


class _Waiting:
    """Trackers by name, as long as anybody else holds them."""

    def __init__(self) -> None:
        self._known: dict[str, WeakSet[Tracker]] = {}
        self._limit = _PRUNED

    def add(self, name: str, tracker: Tracker) -> None:
        if len(self._known) > self._limit:
            self._known = {key: known for key, known in self._known.items() if known}
            self._limit = max(_PRUNED, 2 * len(self._known))
        self._known.setdefault(name, WeakSet()).add(tracker)

    def of(self, name: str) -> set[Tracker]:
        return set(self._known.get(name, ()))

    def has(self, name: str) -> bool:
        """Say whether there is any: by their number, since others may be added while somebody goes through them."""
        return bool(self._known.get(name))

    def all(self) -> set[Tracker]:
        return {tracker for known in self._known.values() for tracker in known}


class _Families:
    """The families that anybody waits for."""

    def __init__(self, waiting: _Waiting) -> None:
        self._waiting = waiting

    def __contains__(self, family: object) -> bool:
        name = family.decode(errors="replace") if isinstance(family, bytes) else ""
        return self._waiting.has(_family(name))


def _family(family: str) -> str:
    return f"family {family}"


def _submission(submission_id: str | None) -> str:
    return f"submission {submission_id}"


def _job(job_id: str) -> str:
    return f"job {job_id}"
