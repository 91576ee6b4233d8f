"""What can be done to a world: submissions, requests, and every kind of trouble (`plan` says how often)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from agents.orchestrator.row import DELETIONS_KEY
from pipeline.messages.control import ControlRequest
from tests.simulation.bus import Entry
from tests.simulation.gate import jobs_of
from tests.simulation.owner import Owner
from tests.simulation.plan import Operation
from tests.simulation.timeline import Actor

if TYPE_CHECKING:
    from tests.simulation.world import World

QUEUES = ("q", "r")


class Operations:
    """Each operation is a method `op_…`, and `do` calls it by its name."""

    def do(self: "World", operation: Operation) -> None:
        """Do one operation."""
        name, arguments = operation
        getattr(self, f"op_{name}")(*arguments)

    def op_run(self: "World", ms: int) -> None:
        self.timeline.run_until(self.timeline.now + ms)
        self.watch.stops()

    def op_submit(self: "World", hash_: int, number: int, queues: int, dedup: bool, priority: int) -> None:
        self._submit(f"h{hash_}", f"s{number}", queues, dedup=dedup, priority=priority)

    def op_burst(self: "World", first: int, count: int) -> None:
        for number in range(first, first + count):
            self._submit(f"b{number}", f"s{number}", 1)

    def op_submit_like(self: "World", back: int, number: int) -> None:
        """Submit the payload of a recent job anew."""
        if self.jobs:
            asked = self.accepted[self.jobs[-1 - back % len(self.jobs)]]
            self._submit(asked["hash"], f"like{number}", 1)

    def op_submit_bad(self: "World", hash_: int) -> None:
        self._submit(f"h{hash_}", f"bad{hash_}", 1, bad=True)

    def op_submit_again(self: "World", which: int) -> None:
        if self.jobs:
            self._produce_submission(self.accepted[self.jobs[which % len(self.jobs)]])

    def _submit(self: "World", hash_: str, ident: str, queues: int, **more: Any) -> None:
        self._produce_submission({"hash": hash_, "id": ident, "queues": QUEUES[:queues], "limit": 120, **more})

    def _produce_submission(self: "World", asked: dict[str, Any]) -> None:
        partition, value = self.random.randrange(self.topology.submit_partitions), orjson.dumps(asked)

        def send() -> None:
            first = [self.accepted_at[job_id] for job_id in jobs_of(asked) if job_id in self.accepted_at]
            # jobs.submit keeps nothing for as long as the ledger remembers: what is older never comes again
            if not first or self.timeline.now - min(first) < self.policy.window_ms // 4:
                self.bus.append(self.topology.submit.name, partition, b"", value)

        self.bus.when_up(send)

    def op_control(self: "World", action: str, which: int) -> None:
        going_on = [
            (not job.permitted, job_id)
            for reference in self.watch.references
            for family in reference.families.values()
            for job_id, job in family.jobs.items()
        ]
        if which % 2 and going_on:
            self._control(action, min(going_on)[1])
        elif self.jobs:
            self._control(action, self.jobs[-1 - which % min(60, len(self.jobs))])

    def op_control_early(self: "World", action: str, hash_: int, number: int) -> None:
        self._control(action, jobs_of({"hash": f"h{hash_}", "id": f"s{number}", "queues": QUEUES})[0])

    def _control(self: "World", action: str, job_id: str) -> None:
        arguments = {"retry!": '{"force": true}', "reprioritise": '{"priority": 5}'}.get(action, "{}")
        request = ControlRequest(action.strip("!"), job_id, "me", "", arguments)
        value = self.codec.encode("control", request.record())
        partition = self.topology.job_partition(job_id)
        self.bus.when_up(lambda: self.bus.append(self.topology.control.name, partition, b"", value))

    def op_crash_owner(self: "World", which: int, fuse: int) -> None:
        if fuse == 0:
            self.owners[which].crash()
        else:
            self.owners[which].fuse = fuse

    def op_pause_owner(self: "World", which: int, ms: int, fuse: int) -> None:
        owner = self.owners[which]
        if fuse and owner.alive:
            owner.stall, owner.stall_ms = fuse, ms
        else:
            self._pause(owner, ms)

    def op_crash_at(self: "World", which: int, place: str, twice: bool) -> None:
        """Die just after a record of this kind was delivered; who takes over may be next."""
        for owner in self.owners if twice else [self.owners[which]]:
            owner.waits_for, owner.befalls = place, owner.crash

    def op_pause_at(self: "World", which: int, place: str, ms: int, dies: bool) -> None:
        """Stand still just after a record of this kind was delivered; `dies`: and die once a row is written late."""
        owner = self.owners[which]

        def stand_still() -> None:
            self._pause(owner, ms)
            if dies:
                owner.waits_for, owner.befalls = "families", owner.crash

        owner.waits_for, owner.befalls = place, stand_still

    def op_crash_finding(self: "World") -> None:
        """Have each orchestrator die once that reads of a row that was set back."""
        for owner in self.owners:
            owner.dies_finding = True

    def op_crash_forgetting(self: "World", loses_disk: bool) -> None:
        """Have each orchestrator die between a batch's families and the documents that it deletes."""
        for owner in self.owners:

            def die(owner: Owner = owner) -> None:
                owner.crash()
                if loses_disk:
                    owner.disk.wipe()

            def deletes(owner: Owner = owner, die: Callable[[], None] = die) -> None:
                owner.waits_for, owner.befalls = "families", die

            owner.waits_for, owner.befalls = DELETIONS_KEY.decode(), deletes

    def op_crash_deleting(self: "World", effects: int) -> None:
        """Have who deletes documents next die some side effects after its batch's families; another finishes that."""
        for owner in self.owners:

            def deletes(owner: Owner = owner) -> None:
                for other in self.owners:
                    other.waits_for = ""
                owner.waits_for, owner.befalls = "families", lambda: setattr(owner, "fuse", effects)

            owner.waits_for, owner.befalls = DELETIONS_KEY.decode(), deletes

    def op_lose_power(self: "World", which: int) -> None:
        self.owners[which].lose_power()

    def op_lose_disk(self: "World", which: int) -> None:
        self.owners[which].crash()
        self.owners[which].disk.wipe()

    def op_keep_snapshot(self: "World", which: int) -> None:
        self.owners[which].keep_snapshot()

    def op_lose_record(self: "World", which: int) -> None:
        self.owners[which].loses = True

    def op_rebalance(self: "World") -> None:
        self.owner_group.rebalance()

    def op_crash_gate(self: "World", which: int) -> None:
        self.gates[which].crash()

    def op_pause_gate(self: "World", which: int, ms: int) -> None:
        self._pause(self.gates[which], ms)

    def op_crash_worker(self: "World", which: int, down: int) -> None:
        self.workers[which].crash()
        self.down_until[self.workers[which].name] = self.timeline.now + down

    def op_pause_worker(self: "World", which: int, ms: int) -> None:
        self._pause(self.workers[which], ms)

    def op_cut_off(self: "World", which: int, ms: int) -> None:
        worker = self.workers[which]
        worker.lose_connection()
        self.timeline.after(ms, worker.find_connection)

    def op_drain(self: "World", which: int, draining: bool) -> None:
        self.workers[which].drain(draining)

    def op_elect(self: "World", late: int) -> None:
        self._elect(late)

    def op_crash_scheduler(self: "World", which: int) -> None:
        self.schedulers[which].crash()

    def op_pause_scheduler(self: "World", which: int, ms: int) -> None:
        one = self.schedulers[which]
        one.at_next_claim = lambda: self._pause(one, ms)

    def op_late_claim(self: "World", later: int) -> None:
        """Let a claim arrive again `later` ms after its job's next attempt waits, whenever that is."""
        self.watch.late_claims.append(later)

    def _claim_again(self: "World", partition: int, entry: Entry, later: int) -> None:
        def again() -> None:
            self.bus.append(self.topology.inbox.name, partition, entry.key, entry.value)

        self.timeline.after(later, lambda: self.bus.when_up(again))

    def op_broker_down(self: "World", ms: int) -> None:
        if self.bus.up:
            self.bus.go_down()
            self.timeline.after(ms, self.bus.come_up)

    def op_sit_out(self: "World", first: int, ms: int) -> None:
        """Let a long outage of the broker begin while jobs run, and pass, and leases be counted after it."""
        self.op_burst(first, 15)
        self.op_run(25_000)
        self.op_broker_down(ms)
        self.op_run(ms + 70_000)

    def op_owners_down(self: "World", ms: int) -> None:
        self._down(self.owners, ms)

    def op_gates_down(self: "World", ms: int) -> None:
        self._down(self.gates, ms)

    def op_skew(self: "World", ms: int) -> None:
        """Put the broker's clock off, and the orchestrators' own by other amounts."""
        self.bus.skew = ms
        for owner in self.owners:
            owner.skew = self.random.choice([0, -ms, 60 * ms, -60 * ms])

    def op_compact_runs(self: "World") -> None:
        for queue in QUEUES:
            self.bus.log(self.topology.run(queue).name, 0).compact(self.timeline.now - 10_000)

    def op_recover(self: "World", which: int) -> None:
        for number in range(self.topology.inbox_partitions):
            self._check_recovered(number, self.owners[which].disk)

    def _pause(self: "World", actor: Actor, ms: int) -> None:
        if actor.alive and not actor.paused:
            life = actor.life
            actor.pause()
            self.timeline.after(ms, lambda: actor.resume() if actor.life == life else None)

    def _down(self: "World", actors: Sequence[Any], ms: int) -> None:
        for actor in actors:
            actor.crash()
            self.down_until[actor.name] = self.timeline.now + ms
