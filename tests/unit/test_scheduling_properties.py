"""What holds for every interleaving of jobs, answers, statuses and time."""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.messages.inbox import Claim
from pipeline.messages.needs import Needs
from pipeline.messages.run import GRANTED, REFUSED, Run
from pipeline.messages.status import Ended, Running, WorkerStatus
from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.message import (
    BecameLeader,
    CaughtUp,
    LostLeadership,
    Message,
    Now,
    QueueSettings,
    RunGone,
    RunWaits,
    StatusSeen,
)
from pipeline.scheduling.rules import Rules
from tests.unit.scheduling_cases import START, claimed, claims, leading, partition_of, run, status

SIZES = st.sampled_from([0, 100, 300, 600, 1000])


@dataclass
class Holder:
    """A worker as it really is."""

    status: WorkerStatus
    held: dict[str, Needs] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)


class Cluster(RuleBasedStateMachine):
    """A ledger, workers and the channels between them, each as slow as hypothesis likes; order is kept in each.

    The truth that is compared: everything that was claimed for a holder and neither refused nor ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler("me", Rules(), partition_of)
        self.now = START
        self.jobs: dict[str, Needs] = {}
        self.inbox: deque[Claim] = deque()
        self.answers: deque[RunGone] = deque()
        self.statuses: deque[StatusSeen] = deque()
        self.offset = 0
        self.holders: dict[str, Holder] = {}
        self.open: dict[str, tuple[str, str]] = {}

    @initialize(offers=st.lists(st.tuples(st.integers(1, 4), SIZES), min_size=1, max_size=3))
    def start(self, offers: list[tuple[int, int]]) -> None:
        for number, (slots, memory) in enumerate(offers):
            worker_id = f"w{number}"
            self.holders[worker_id] = Holder(WorkerStatus(worker_id, f"{worker_id}:1:r", 0, slots, memory, 0))
        self.tell(QueueSettings("q"), Now(self.now), BecameLeader(0), CaughtUp("q"))

    @rule(memory=SIZES, priority=st.integers(0, 9), partition=st.integers(0, 3))
    def submit(self, memory: int, priority: int, partition: int) -> None:
        needs = Needs(memory_mib=memory)
        job_id = f"{partition}-{len(self.jobs)}"
        self.jobs[job_id] = needs
        self.tell(RunWaits(Run(job_id, 1, 1, "q", priority, self.now, "type", needs), self.now))

    @precondition(lambda self: self.inbox)
    @rule(withdrawn=st.integers(0, 4))
    def answer(self, withdrawn: int) -> None:
        """The ledger reads a claim; a command arrives at once, only its answer is slow."""
        claim = self.inbox.popleft()
        key = f"{claim.job_id}/1"
        if self.open.get(key) != (claim.claim_id, "sent"):
            result = REFUSED
        else:
            result = REFUSED if withdrawn == 0 else GRANTED
            self.open[key] = (claim.claim_id, result)
            if result == GRANTED:
                self.holders[claim.holder.partition(":")[0]].held[key] = self.jobs[claim.job_id]
        self.answers.append(RunGone("q", key, self.now, result, claim.holder, claim.claim_id))

    @precondition(lambda self: self.answers)
    @rule()
    def read_answer(self) -> None:
        self.tell(self.answers.popleft())

    @rule(data=st.data())
    def end_an_attempt(self, data: st.DataObject) -> None:
        held = [(holder, key) for holder in self.holders.values() for key in holder.held]
        if held:
            holder, key = data.draw(st.sampled_from(held))
            del holder.held[key]
            holder.ended[key] = self.now

    @rule(data=st.data())
    def send_status(self, data: st.DataObject) -> None:
        holder = self.holders[data.draw(st.sampled_from(sorted(self.holders)))]
        attempts = tuple(Running(key[:-2], 1, needs.memory_mib) for key, needs in holder.held.items())
        ended = tuple(Ended(key[:-2], 1) for key, at in holder.ended.items() if self.now - at <= 30_000)
        said = WorkerStatus(
            holder.status.worker_id,
            holder.status.holder,
            0,
            holder.status.slots,
            holder.status.memory_mib,
            0,
            attempts=attempts,
            ended=ended,
        )
        self.statuses.append(StatusSeen(said, self.now, self.offset))
        self.offset += 1

    @precondition(lambda self: self.statuses)
    @rule()
    def read_status(self) -> None:
        self.tell(self.statuses.popleft())

    @rule(ms=st.sampled_from([1, 500, 3000, 10_000, 40_000]))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.tell(Now(self.now))

    @rule()
    def lose_and_win_the_lead(self) -> None:
        """Nothing is under way, as far as the ledger is concerned, when the next leader starts."""
        while self.inbox or self.answers:
            # an answer that is read may free what the leader claims for the next one at once
            if self.inbox:
                self.answer(1)
            else:
                self.read_answer()
        self.tell(LostLeadership(), BecameLeader(self.offset), CaughtUp("q"))

    @invariant()
    def no_holder_is_given_more_than_it_offers(self) -> None:
        for worker_id, holder in self.holders.items():
            given = dict(holder.held)
            for claim in self.inbox:
                key = f"{claim.job_id}/1"
                if claim.holder == holder.status.holder and self.open[key] == (claim.claim_id, "sent"):
                    given[key] = self.jobs[claim.job_id]
            assert len(given) <= holder.status.slots, worker_id
            assert sum(needs.memory_mib for needs in given.values()) <= holder.status.memory_mib, worker_id

    def tell(self, *messages: Message) -> None:
        for claim in claims(self.scheduler.apply(*messages)):
            key = f"{claim.job_id}/1"
            known = self.open.get(key)
            if known is None or known[0] != claim.claim_id:
                assert known is None or known[1] != "sent", "claimed twice"
                self.open[key] = (claim.claim_id, "sent")
            self.inbox.append(claim)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

JOBS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), SIZES, st.integers(0, 2)), max_size=25)
OFFERS = st.lists(st.tuples(st.integers(0, 4), SIZES, st.integers(0, 2)), max_size=5)


@settings(max_examples=150, deadline=None)
@given(jobs=JOBS, offers=OFFERS)
def test_each_claim_is_the_smallest_rank_that_any_credit_fits_for_the_worker_with_most_free_slots(
    jobs: list[tuple[int, int, int, int]], offers: list[tuple[int, int, int]]
) -> None:
    rules = Rules(priority_step_ms=2)
    scheduler = leading(rules=rules)
    waiting = [(since - 2 * priority, f"{number:02}/1", memory, gpus)
               for number, (since, priority, memory, gpus) in enumerate(jobs)]  # fmt: skip
    free = {f"w{number}": list(offer) for number, offer in enumerate(offers)}
    scheduler.apply(
        *(
            run(f"{number:02}", since=since, priority=priority, memory_mib=memory, gpus=gpus)
            for number, (since, priority, memory, gpus) in enumerate(jobs)
        )
    )
    told = [status(name, slots, memory=memory, gpus=gpus) for name, (slots, memory, gpus) in free.items()]

    assert claimed(scheduler.apply(*told)) == expected(waiting, free)


@settings(max_examples=100, deadline=None)
@given(jobs=JOBS, offers=OFFERS, seed=st.randoms(use_true_random=False))
def test_the_same_messages_give_the_same_claims(
    jobs: list[tuple[int, int, int, int]], offers: list[tuple[int, int, int]], seed: "object"
) -> None:
    told: list[Message] = [
        run(f"{number}-x", since=since, priority=priority, memory_mib=memory, gpus=gpus)
        for number, (since, priority, memory, gpus) in enumerate(jobs)
    ]
    told += [status(f"w{n}", slots, memory=memory, gpus=gpus) for n, (slots, memory, gpus) in enumerate(offers)]
    seed.shuffle(told)  # type: ignore[attr-defined]
    first, second = leading(), leading()
    assert [first.apply(message) for message in told] == [second.apply(message) for message in told]


def expected(waiting: list[tuple[int, str, int, int]], free: dict[str, list[int]]) -> list[tuple[str, str]]:
    """The rule, said the slow way: look at everything again for each claim."""
    left = sorted(waiting)
    made = []
    while True:
        for job in left:
            _, key, memory, gpus = job
            fitting = [name for name, (slots, mib, cards) in free.items() if slots and mib >= memory and cards >= gpus]
            if fitting:
                break
        else:
            return made
        worker = min(fitting, key=lambda name: (-free[name][0], name))
        left.remove(job)
        made.append((key.partition("/")[0], worker))
        free[worker] = [free[worker][0] - 1, free[worker][1] - memory, free[worker][2] - gpus]
