"""A partition on which a bit of everything happened, through the orchestrator's own code."""

from dataclasses import replace
from pathlib import Path

from pipeline.identity import family_of_job
from pipeline.ledger.policy import Policy
from pipeline.messages.inbox import Claim, Control, Due, Heartbeat, Held, PolicySet, Report, Source
from pipeline.replay.recorded import Recorded
from tests.unit.partition_support import CODEC, HOLDER, Owner


def read(owner: Owner) -> list[Recorded]:
    return [Recorded.read(CODEC, one.offset, one.timestamp, one.key, one.value) for one in owner.log]


def eventful(folder: Path) -> tuple[Owner, list[str]]:
    """Play a partition with a bit of everything; return its owner and the jobs."""
    owner = Owner(folder)
    policy = Policy(lease_ms=2000, tick_ms=1000, retry_backoff_ms=100, window_ms=60_000, document_ms=30_000)
    owner.send("", PolicySet("id", policy.json()))
    lost = owner.submit("lost")
    family = family_of_job(lost)
    owner.send(family, Claim(lost, 1, "q", HOLDER, "c"))
    owner.send(family, Report("started", lost, 1, HOLDER, '{"job_info": {"pid": 7}}'))
    owner.send("", Heartbeat(HOLDER, (Held(lost, 1),)))
    for _ in range(5):
        owner.tick(1000)
    owner.send(family, Report("completed", lost, 1, HOLDER))
    done = owner.submit("done")
    owner.finish(done)
    owner.finish(done)
    again = owner.submit("done", "s2")
    failed = owner.submit("failed")
    owner.finish(failed, "failed", error="broken")
    source = Source("control", 0, 4)
    owner.send(family_of_job(failed), Control("retry", failed, "me"), source=source, time=owner.now)
    owner.send(family_of_job(failed), Control("retry", failed, "me"), source=source, time=owner.now)
    owner.send(family_of_job(failed), Control("revoke", failed, "me", "enough"))
    rubbish = replace(owner.append("x", Due("forget", "x", 0, 1)), value=b"\xc3\x01rubbish")
    owner.log[-1] = rubbish
    owner.apply([rubbish])
    for _ in range(70):
        owner.tick(1000)
    owner.finish(done)
    return owner, [lost, done, again, failed]
