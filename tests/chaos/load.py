"""The load: jobs of all kinds, at a steady pace, and what must have become of each at the end."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents.bus import Publisher
from agents.registry import codec
from ops.submitting import Submission, Submitter
from pipeline.identity import family_of_job
from pipeline.messages.control import RETRY, REVOKE, ControlRequest
from pipeline.settings import Settings
from pipeline.statuses import CONTROL_REFUSED, Status
from pipeline.topic import Topic
from tests.chaos.watch import Watch

#: What a job does: it says in its file that it begins, works, and says that it ends. A line is one write.
SCRIPT = """\
kind=$1 file=$2 seconds=$3 name=$4
attempt=$(sed -n 's/.*"attempt": *\\([0-9][0-9]*\\).*/\\1/p' _job.json | head -n 1)
echo "begun $attempt" >>"$file"
sleep "$seconds"
case $kind in
    product)
        mkdir "$name"
        echo '{"version": "v1"}' >"$name/$name.dataset.json"
        echo "$attempt" >"$name/attempt.txt"
        ;;
    failing | again) echo "ended $attempt" >>"$file"; exit 3 ;;
    tempfail) [ "$(grep -c begun "$file")" -ge 3 ] || exit 75 ;;
esac
echo "ended $attempt" >>"$file"
"""
#: How often each kind comes, in parts of the whole.
KINDS = {
    "plain": 8,
    "product": 8,
    "failing": 2,
    "tempfail": 2,
    "again": 1,
    "twins": 2,
    "redelivered": 2,
    "revoked": 2,
    "new-queue": 0,
    "garbage": 1,
    "bad-fact": 1,
    "known": 2,
}
#: Cases that may be open until no more are sent: what waits for long shows nothing.
MOST_OPEN = 60
#: Who sends those whose sender is known, by a topic of its own.
KNOWN = "alice"
#: s that the broker may take to store a record
STORED = 120.0
_TYPE = "chaos"
_PLAIN = [Status.COMPLETED]


@dataclass
class Case:
    """Submissions that belong together: what was sent, and what the operator asked for since."""

    kind: str
    number: int
    submissions: list[str]
    file: Path
    asked: set[str] = field(default_factory=set)


class Load:
    """Sends from a thread of its own until `stop`; `want` has a kind come next, as lanes need it for their points."""

    def __init__(self, settings: Settings, watch: Watch, seed: int, pace: float) -> None:
        self._settings = settings
        self._watch = watch
        self._random = random.Random(f"{seed}/load")
        self._pace = pace
        self._codec = codec(settings)
        self._submitter = Submitter(settings, **{"log_level": 0})
        kafka = settings.kafka.model_copy(update={"submit_as": KNOWN})
        self._known = Submitter(settings.model_copy(update={"kafka": kafka}), **{"log_level": 0})
        self._publisher = Publisher(settings, "chaos-load", **{"log_level": 0})
        self._folder = settings.home / "tallies"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._script = settings.home / "job.sh"
        self._script.write_text(SCRIPT)
        self._lock = threading.Lock()
        self._wanted: Counter[str] = Counter()
        self._turn = 0
        self.cases: list[Case] = []
        self._open: list[Case] = []
        self.garbage = 0
        self.bad_facts = 0
        self.failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def want(self, kind: str, on: bool) -> None:
        """Have a kind come at every other turn, until it isn't wanted any more."""
        with self._lock:
            self._wanted[kind] += 1 if on else -1

    def stop(self) -> None:
        """Send nothing new any more; what belongs to open cases is still asked for by `attend`."""
        self._ended.set()
        self._thread.join(STORED + 30)
        assert not self._thread.is_alive(), "the load does not end"

    def close(self) -> None:
        """Let go of the broker."""
        self._submitter.close()
        self._known.close()
        self._publisher.close()

    @property
    def submissions(self) -> list[str]:
        return [one for case in list(self.cases) for one in case.submissions]

    def attend(self) -> None:
        """Ask for what open cases wait for: a revoke, another try. Called by one thread at a time."""
        left = []
        for case in self._open:
            jobs = self._watch.jobs_of(case.submissions[0])
            if not jobs:
                left.append(case)
                continue
            statuses = self._watch.statuses(jobs[0])
            if case.kind == "revoked" and not case.asked:
                self._control(REVOKE, jobs[0])
                case.asked.add(REVOKE)
            elif case.kind == "again" and not case.asked and Status.FAILED in statuses:
                self._control(RETRY, jobs[0])
                case.asked.add(RETRY)
            if not self.is_over(case):
                left.append(case)
        self._open = left

    def is_over(self, case: Case) -> bool:
        """Say whether nothing more is to happen to a case's jobs."""
        if self._watch.open(case.submissions):
            return False
        if case.kind != "again":
            return True
        (job,) = self._watch.jobs_of(case.submissions[0])[:1]
        failed = self._watch.statuses(job).count(Status.FAILED)
        return failed >= 2 or bool(self._watch.attempts(job, CONTROL_REFUSED))

    def runs_on(self, worker: str) -> int:
        """How many attempts a worker has open now, by the list that it keeps of them."""
        root = self._settings.work_root / "open"
        return sum(len(list(folder.iterdir())) for folder in root.glob(f"{worker}*"))

    def left(self) -> list[Case]:
        """The cases that were not over when they were last looked at."""
        return list(self._open)

    # -- sending

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._pace):
                self.attend()
                kind = self._kind()
                # what a point needs comes all the same, now and then
                if len(self._open) < MOST_OPEN or (self._turn % 10 == 1 and self._wants(kind)):
                    self._send(kind)
        except BaseException as error:
            self.failure = error

    def _wants(self, kind: str) -> bool:
        with self._lock:
            return self._wanted[kind] > 0

    def _kind(self) -> str:
        self._turn += 1
        with self._lock:
            wanted = [kind for kind, count in self._wanted.items() if count > 0]
        if wanted and self._turn % 2:
            return wanted[self._turn // 2 % len(wanted)]
        return self._random.choices(list(KINDS), list(KINDS.values()))[0]

    def _send(self, kind: str) -> None:
        number = len(self.cases)
        if kind == "garbage":
            self.garbage += 1
            self._publish(self._settings.topology.submit, f"no submission {self.garbage}".encode(), self.garbage)
            return
        if kind == "bad-fact":
            self.bad_facts += 1
            self._publish(self._settings.topology.events, f"no fact {self.bad_facts}".encode(), self.bad_facts)
            return
        seconds = 30.0 if kind == "revoked" else round(self._random.uniform(0.1, 1.5), 2)
        file = self._folder / str(number)
        payload = {
            "_command": f"sh {self._script} $kind $file $seconds $name",
            "kind": kind,
            "file": str(file),
            "seconds": seconds,
            "name": f"P-{number}",
        }
        ids = [f"s-{number}"] + ([f"t-{number}"] if kind == "twins" else [])
        type_ = f"{_TYPE}-{number}" if kind == "new-queue" else _TYPE
        sent = [Submission(type_, payload, one) for one in ids]
        if kind == "redelivered":
            sent = sent * 2
        # noted before it is sent: it may be stored although nobody says so
        case = Case(kind, number, ids, file)
        self.cases.append(case)
        self._open.append(case)
        submitter = self._known if kind == "known" else self._submitter
        for submission in sent:
            submitter.send(submission).result(STORED)

    def _publish(self, topic: Topic, value: bytes, number: int) -> None:
        self._publisher.send(topic, b"planted", value, number % topic.partitions).result(STORED)

    def _control(self, action: str, job: str) -> None:
        request = ControlRequest(action, job, "chaos", "as planned")
        topology = self._settings.topology
        value = self._codec.encode("control", request.record())
        partition = topology.job_partition(job)
        self._publisher.send(topology.control, family_of_job(job), value, partition).result(STORED)


def wrongs(case: Case, watch: Watch, products: Path) -> list[str]:
    """Return what is wrong with the end of a case, in words; the log's own order is for the audit."""
    said = []
    jobs = [job for one in case.submissions for job in watch.jobs_of(one)]
    if len(jobs) != len(case.submissions):
        said.append(f"{len(jobs)} jobs of {len(case.submissions)} submissions")
    lasts = sorted(watch.last(job) for job in jobs)
    if lasts not in _expected(case):
        said.append(f"ended as {lasts}")
    for job in jobs:
        if watch.statuses(job).count(Status.COMPLETED) > 1:
            said.append(f"{job} completed more than once")
    if case.kind == "again" and jobs:
        failed = watch.statuses(jobs[0]).count(Status.FAILED)
        refused = bool(watch.attempts(jobs[0], CONTROL_REFUSED))
        if failed != (1 if refused else 2):
            said.append(f"failed {failed} times, where it was asked for once more")
    lines = case.file.read_text().splitlines() if case.file.exists() else []
    begun = [line for line in lines if line.startswith("begun")]
    if len(set(begun)) != len(begun):
        said.append(f"an attempt ran twice: {lines}")
    ended = [line for line in lines if line.startswith("ended")]
    if (Status.COMPLETED in lasts or case.kind in ("failing", "again")) and not ended:
        said.append(f"never ran to its end: {lines}")
    if case.kind == "product":
        said += _wrong_product(case, jobs, watch, products)
    return said


def _expected(case: Case) -> list[list[str]]:
    match case.kind:
        case "failing" | "again":
            return [[Status.FAILED]]
        case "twins":
            return [sorted([Status.COMPLETED, Status.DEDUPED])]
        case "revoked":
            return [[Status.REVOKED], _PLAIN]
    return [_PLAIN]


def _wrong_product(case: Case, jobs: list[str], watch: Watch, products: Path) -> list[str]:
    place = products / f"P-{case.number}"
    told = place / "attempt.txt"
    if not told.exists():
        return [f"{place.name} is not published"]
    attempt = int(told.read_text())
    completed = [number for job in jobs for number in watch.attempts(job, Status.COMPLETED)]
    return [] if completed == [attempt] else [f"the product is attempt {attempt}'s, completed is {completed}"]


def await_end(load: Load, timeout: float, tell: Callable[[str], None], mind: Callable[[], None]) -> list[Case]:
    """Wait until every case is over; return those that are not where nothing ended for `timeout` seconds.

    `mind` is called now and then: somebody has to start again what ends meanwhile.
    """
    count, since, told = -1, time.monotonic(), time.monotonic()
    while True:
        mind()
        load.attend()
        left = load.left()
        if len(left) != count:
            count, since = len(left), time.monotonic()
        if not left or time.monotonic() - since > timeout:
            return left
        if time.monotonic() - told > 10:
            told = time.monotonic()
            tell(f"{count} cases have not ended")
        time.sleep(0.3)
