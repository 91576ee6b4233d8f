"""The end of a run: every job has ended as it should, the log holds what must hold, and the index agrees with it."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from ops.reading.log import Log
from ops.replaying.decided import positions
from ops.replaying.reading import records
from tests.chaos.lanes import Record
from tests.chaos.load import Load, await_end, wrongs
from tests.chaos.site import Site, Tell
from tests.chaos.watch import Watch
from tests.waiting import PATIENCE, until

#: s without any job's ending after which those that are left are taken for lost
LOST = 240.0
#: s for the sink to catch up, once all jobs have ended
INDEXED = 180.0
#: Prefix of the index that is made anew from the log.
REBUILT = "rebuilt-"
_SHOWN = 10


@dataclass
class Verdict:
    """What was found; `wrong` is empty where all is well."""

    wrong: list[str] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)
    verified: int = 0
    dead: int = 0
    documents: int = 0


def mind(site: Site, record: Record) -> None:
    """Start again what ended by itself, as a supervisor would."""
    for agent in site.agents.values():
        if not agent.runs:
            record.ended_itself(agent)
            agent.start()


def judge(site: Site, load: Load, watch: Watch, record: Record, tell: Tell) -> Verdict:
    """Wait for what is left, with all agents running, and look at everything; takes as long as it takes."""
    verdict = Verdict()
    if load.failure is not None:
        verdict.wrong.append(f"the load failed: {load.failure!r}")
    tell(f"waiting for {len(load.left())} of {len(load.cases)} cases")
    for case in await_end(load, LOST * PATIENCE, tell, lambda: mind(site, record))[:_SHOWN]:
        jobs = {job: watch.statuses(job) for one in case.submissions for job in watch.jobs_of(one)}
        verdict.wrong.append(f"case {case.number} ({case.kind}) never ended: {jobs or 'not taken'}")
    for case in load.cases:
        for said in wrongs(case, watch, site.settings.product_store):
            verdict.wrong.append(f"case {case.number} ({case.kind}, {', '.join(case.submissions)}): {said}")
    tell("waiting for the sink")

    def caught_up() -> bool:
        mind(site, record)
        return _indexed(site)

    try:
        until(caught_up, INDEXED, 1.0, what="the sink has read all facts")
    except AssertionError as late:
        verdict.wrong.append(str(late))
    _audit(site, verdict, tell)
    _verify(site, verdict, tell)
    _tables(site, verdict, tell)
    _compare(site, verdict, tell)
    _dead(site, load, verdict)
    return verdict


def _indexed(site: Site) -> bool:
    """Whether the sink has committed all that is on jobs.events."""
    events = site.settings.topology.events
    numbers = range(events.partitions)
    with Log(site.settings) as log:
        ends = log.ends(events, list(numbers))
    read = positions(site.settings, site.settings.sink.group, events, numbers)
    return all(read.get(number, 0) >= end for number, end in ends.items())


def _audit(site: Site, verdict: Verdict, tell: Tell) -> None:
    tell("jobstream audit")
    done = site.cli("audit", "-o", "json")
    try:
        verdict.audit = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        verdict.wrong.append(f"audit failed: {done.stderr[-2000:]}")
        return
    if done.returncode or not verdict.audit["holds"]:
        shown = verdict.audit["violations"][:_SHOWN]
        verdict.wrong.append(f"audit: {orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()}")
    if verdict.audit["open"]["count"]:
        verdict.wrong.append(f"audit: open jobs: {verdict.audit['open']}")


def _verify(site: Site, verdict: Verdict, tell: Tell) -> None:
    tell("jobstream replay verify")
    done = site.cli("replay", "verify", "-o", "json")
    try:
        told = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        verdict.wrong.append(f"replay verify failed: {done.stderr[-2000:]}")
        return
    verdict.verified = sum(one["messages"] for one in told["partitions"])
    if done.returncode or not told["equal"]:
        verdict.wrong.append(f"replay verify: {done.stdout[:4000]}")


def _tables(site: Site, verdict: Verdict, tell: Tell) -> None:
    tell("jobstream ledger verify")
    done = site.cli("ledger", "verify")
    if done.returncode:
        verdict.wrong.append(f"ledger verify: {done.stdout[:4000]}{done.stderr[-2000:]}")


def _compare(site: Site, verdict: Verdict, tell: Tell) -> None:
    tell("jobstream replay index --compare")
    done = site.cli("replay", "index", "--into", REBUILT, "--compare", "-o", "json")
    try:
        told = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        verdict.wrong.append(f"replay index failed: {done.stderr[-2000:]}")
        return
    verdict.documents = sum(told["compared"]["equal"].values())
    if done.returncode or not told["compared"]["is_equal"]:
        verdict.wrong.append(f"replay index: {done.stdout[:4000]}")


def _dead(site: Site, load: Load, verdict: Verdict) -> None:
    """What was planted is on jobs.dead, each at least once, and nothing else is."""
    topology = site.settings.topology
    found: dict[tuple[str, str, str], int] = {}
    with Log(site.settings, follows=False) as log:
        for number in range(topology.dead.partitions):
            for message in records(log, topology.dead, number, *log.bounds(topology.dead, number)):
                headers = {name: (value or b"").decode() for name, value in message.headers() or ()}
                place = headers["topic"], headers["partition"], headers["offset"]
                found[place] = found.get(place, 0) + 1
                if not (message.value() or b"").startswith((b"no submission", b"no fact")):
                    verdict.wrong.append(f"a dead letter that nobody planted: {headers}")
    verdict.dead = len(found)
    planted = load.garbage + load.bad_facts
    if len(found) != planted:
        verdict.wrong.append(f"{len(found)} records are on jobs.dead, {planted} were planted")
