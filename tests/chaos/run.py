"""One run: the installation, the load, all lanes at once, and the judgement."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.judge import Verdict, judge
from tests.chaos.lanes import Lane, Record
from tests.chaos.load import Load
from tests.chaos.plan import deaths
from tests.chaos.site import Site, Tell, site_at
from tests.chaos.watch import Watch

#: Which agents a lane's victim is one of.
MEMBERS = {
    **{name: (name,) for name in ("gate", "worker-1", "worker-2", "sink")},
    "orchestrator": ("orchestrator-1", "orchestrator-2"),
    "scheduler": ("scheduler-1", "scheduler-2"),
}


@dataclass(frozen=True)
class Asked:
    """What a run is to be like: at least so many kills, in so many seconds at most; `pace` is s between submissions."""

    seed: int
    kills: int
    seconds: float
    pace: float = 0.4
    actions: tuple[str, ...] = ("kill", "term")
    passes: int = 6
    only: str = ""


@dataclass
class Result:
    """What came of a run."""

    asked: Asked
    record: Record
    verdict: Verdict
    wrong: list[str]
    counts: Mapping[str, int] = field(default_factory=dict)
    jobs: int = 0
    facts: int = 0
    repeated: int = 0
    cases: int = 0
    seconds: float = 0.0
    codes: Mapping[str, int | None] = field(default_factory=dict)


def chaos(home: Path, asked: Asked, tell: Tell) -> Result:
    """Run it all below `home`; the data stays there, the processes don't."""
    begun = time.monotonic()
    with site_at(home, tell) as site:
        watch = Watch(site.settings)
        load = Load(site.settings, watch, asked.seed, asked.pace)
        record = Record(tell)
        try:
            failures = _kill(site, load, record, asked, begun)
            load.stop()
            verdict = judge(site, load, watch, record, tell)
            codes = site.stop()
            wrong = [*failures, *verdict.wrong, *_wrong_processes(record, codes, asked)]
            counts = watch.counts()
            result = Result(asked, record, verdict, wrong, counts, watch.jobs, watch.facts, watch.repeated)
            result.cases, result.codes = len(load.cases), codes
            result.seconds = time.monotonic() - begun
            if wrong:
                tell(logs(site))
            return result
        finally:
            load.close()
            watch.close()


def _kill(site: Site, load: Load, record: Record, asked: Asked, begun: float) -> list[str]:
    """Run all lanes until each has done its plan and there were enough kills; return what failed in them."""
    plan = {
        victim: [death for death in mine if asked.only in death.point]
        for victim, mine in deaths(asked.seed, asked.actions, asked.passes).items()
    }
    lanes: list[Lane] = []

    def all_planned() -> bool:
        return all(lane.planned.is_set() for lane in lanes)

    def enough() -> bool:
        if time.monotonic() - begun > asked.seconds or load.failure is not None:
            return True
        return record.kills >= asked.kills and all_planned()

    lanes += [
        Lane(victim, [site.agents[name] for name in members], load, record, asked.seed, enough, all_planned)
        for victim, members in MEMBERS.items()
    ]
    threads = [
        threading.Thread(target=lane.run, args=(plan[lane.victim],), name=lane.victim, daemon=True) for lane in lanes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [f"lane {lane.victim}: {lane.failure!r}" for lane in lanes if lane.failure is not None]


def _wrong_processes(record: Record, codes: Mapping[str, int | None], asked: Asked) -> list[str]:
    wrong = [f"{one.victim} {one.point} {one.action}: {one.wrong}" for one in record.wrong]
    wrong += [f"{name} ended with {code}" for name, code in codes.items() if code != 0]
    if record.kills < asked.kills:
        wrong.append(f"{record.kills} kills within {asked.seconds:.0f} s, {asked.kills} were wanted")
    return wrong


def logs(site: Site) -> str:
    """Return the last lines of all agents."""
    return "\n".join(f"--- {name}\n{agent.tail(25)}" for name, agent in site.agents.items())
