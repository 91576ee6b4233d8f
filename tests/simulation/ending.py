"""The end of a world: trouble stops, time passes until everything has ended, and all of it is looked at."""

from typing import TYPE_CHECKING

from agents.orchestrator.row import body_of, offset_of
from pipeline.topology import TABLES
from tests.simulation.operating import QUEUES
from tests.simulation.oracle import DONE, ViolationError
from tests.simulation.owner import Owner
from tests.simulation.scheduler import Scheduler
from tests.simulation.stores import Disk
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from tests.simulation.world import World

#: ms without any trouble in which some job at least must end: a run record that got lost comes again within less.
PATIENCE = 2_400_000


class Ending:
    """What is checked once, at the end; what tables must be like at any time, too."""

    def settle(self: "World") -> None:
        """Let all trouble end, and time pass until everything that was accepted has ended; then look at it all."""
        if not self.bus.up:
            self.bus.come_up()
        self.late = [0]
        for actor in self.actors:
            self.down_until[actor.name] = 0
            if isinstance(actor, Owner):
                actor.fuse, actor.loses, actor.stall, actor.waits_for = -1, False, -1, ""
                actor.dies_finding = False
            if isinstance(actor, Scheduler):
                actor.at_next_claim = None
            if isinstance(actor, Worker):
                actor.find_connection()
                actor.drain(False)
            actor.resume()
        self.op_run(20_000)
        ended, since = -1, self.timeline.now
        while not self._has_ended():
            done = sum(known.status in DONE for known in self.oracle.known.values())
            if done != ended:
                ended, since = done, self.timeline.now
            if self.timeline.now - since > PATIENCE:
                raise ViolationError(f"never ended: {self._unfinished()}")
            self.op_run(10_000)
        self.op_run(30_000)
        self._check_end()
        self._check_compacted()

    def _unfinished(self: "World") -> list[str]:
        known = self.oracle.known
        return [
            f"{job_id} {known[job_id].status if job_id in known else 'never queued'} "
            f"{self.watch.reference_of(job_id).families.get(job_id.partition('-')[0])}"
            for job_id in self.accepted
            if job_id not in known or known[job_id].status not in DONE
        ][:3]

    def _has_ended(self: "World") -> bool:
        return not self._unfinished() and all(
            not family.jobs for reference in self.watch.references for family in reference.families.values()
        )

    def _check_end(self: "World") -> None:
        for job_id, known in self.oracle.known.items():
            missing = [seq for seq in range(1, known.seq + 1) if (job_id, seq) not in self.watch.facts]
            if missing:
                raise ViolationError(f"facts of {job_id} were never published: seq {missing}")
            if known.completions > 1 + known.retries:
                raise ViolationError(f"{job_id} completed {known.completions} times, {known.retries} retries")
        for queue in QUEUES:
            last = {one.key: one for one in self.bus.log(self.topology.run(queue).name, 0).read(0)}
            left = [one.key for one in last.values() if one.value is not None]
            if left:
                raise ViolationError(f"run records are left in {queue}: {left}")
        for number in range(self.topology.inbox_partitions):
            for disk in (Disk(), *(owner.disk for owner in self.owners)):
                self._check_recovered(number, disk)
        for one in self.schedulers:
            if len(one.core.claims) or len(one.core.waiting):
                raise ViolationError(f"{one.name} waits for what is over: {len(one.core.waiting)} jobs")
            lost = [
                worker.holder
                for worker in one.core.fleet.workers()
                if not worker.silent and worker.account.free.slots != worker.offer.slots
            ]
            if lost:
                raise ViolationError(f"{one.name} lost slots of {lost}")
        problems = [problem for owner in self.owners for problem in owner.problems if "ALL_BROKERS" not in problem]
        problems = [one for one in problems if not one.startswith("DeliveryError")]
        if problems:
            raise ViolationError(f"an orchestrator ended by itself: {problems[0]}")

    def _check_compacted(self: "World") -> None:
        """Once its partition has had one more owner, what compaction leaves of a changelog must be enough."""
        self.op_rebalance()
        self.op_run(30_000)
        for changelog in self.topology.changelogs():
            for number in range(self.topology.inbox_partitions):
                self.bus.log(changelog.name, number).compact(self.timeline.now)
        for number in range(self.topology.inbox_partitions):
            for disk in (Disk(), *(owner.disk for owner in self.owners)):
                self._check_recovered(number, disk)

    def _check_recovered(self: "World", number: int, disk: Disk) -> None:
        """Tables from this disk and the changelog must equal the fold of the log, as far as it was acknowledged."""
        copy = Disk()
        copy.restore(disk.snapshot())
        tables, opened = copy.tables(self.topology)
        for table, changelog in zip(TABLES, self.topology.changelogs(), strict=True):
            opened[table].follow(number, self.bus.log(changelog.name, number).read(opened[table].position(number)))
        reference = self.watch.references[number]
        committed = self.watch.committed[number]
        forgotten = tables.forgotten(number)
        active = set(tables.active(number))
        for name, history in reference.history.items():
            last = next((offset for offset, _ in reversed(history) if offset < committed), None)
            if last is None:
                continue
            row = opened["families"].get_row(number, name.encode())
            if row is None:
                state = reference.as_of(name, max(last, forgotten))
                if state is not None and not state.is_empty:
                    raise ViolationError(f"family {name} is lost in a recovery of partition {number}")
                continue
            family = tables.family(number, name)
            known = reference.at(name, family.offset)
            if family.offset < last and not (reference.as_of(name, last) or family).is_empty:
                raise ViolationError(f"family {name} was set back in a recovery: {family.offset} instead of {last}")
            if known is None or body_of(row) != known.dump():
                raise ViolationError(f"family {name} was recovered otherwise than the log says")
            if family.jobs and name not in active:
                raise ViolationError(f"family {name} has unfinished jobs and is not in the index after a recovery")
        merged = self.watch.merged["documents", number]
        for key in merged.gone:
            row = opened["documents"].get_row(number, key)
            # one that was made anew may be on this disk alone so far
            if row is not None and offset_of(row) <= merged.offsets[key]:
                raise ViolationError(f"the document {key!r} is back in a recovery, though its deletion came last")
