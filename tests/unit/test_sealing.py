"""Sealed grants: who can open them, and what is kept back rather than sent in clear (decision 029)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.orchestrator.policy import policy_of
from agents.worker.identity import Seat
from pipeline.codec import fingerprint_of
from pipeline.identity import family_of_hash, family_of_job, job_id, key_of, key_text, token
from pipeline.ledger.policy import Policy
from pipeline.messages.command import GRANT, PERMIT, STOP, Command, Reference
from pipeline.messages.inbox import Claim, NewJob, PolicySet, Submitted
from pipeline.messages.needs import Needs
from pipeline.protocol import Protocol, own
from pipeline.replay.fold import Fold
from pipeline.replay.recorded import Recorded
from pipeline.sealing import HolderKey, SealingError, seal
from pipeline.settings import Settings
from pipeline.topology import COMMAND_DOCUMENT_LIMIT
from schemas.check import published
from tests.unit.ledger_support import QUEUE, Ledger
from tests.unit.partition_support import CODEC, HOLDER, TOPOLOGY, Owner
from tests.unit.sealing_support import GIVEN, HOLDER_WITH_KEY, KEY, NO_POINT, SEALING

NAME = key_text(bytes(range(32)))


# the seal


def test_the_holder_opens_what_was_sealed_and_nothing_of_it_stands_beside() -> None:
    sealed = seal(GIVEN)
    assert (sealed.token, sealed.document, sealed.reference) == ("", None, None)
    assert KEY.open(sealed) == replace(GIVEN, sealed=sealed.sealed)
    assert all(text not in (sealed.sealed or b"") for text in (b"t0ken", b"pr1vate"))


def test_each_seal_has_bytes_of_its_own() -> None:
    assert seal(GIVEN).sealed != seal(GIVEN).sealed


def test_another_holder_can_t_open_it() -> None:
    with pytest.raises(SealingError, match="this holder"):
        HolderKey().open(seal(GIVEN))


@pytest.mark.parametrize("other", [{"job_id": "f-2"}, {"attempt": 2}, {"holder": f"w2:1000:{KEY.text}"}])
def test_a_seal_holds_for_its_job_attempt_and_holder_alone(other: dict[str, Any]) -> None:
    with pytest.raises(SealingError, match="job and attempt"):
        KEY.open(replace(seal(GIVEN), **other))


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_seal_that_was_changed_is_broken(at: int) -> None:
    made = seal(GIVEN)
    changed = bytearray(made.sealed or b"")
    changed[at] ^= 1
    for wrong in (bytes(changed), (made.sealed or b"")[:-1], b""):
        with pytest.raises(SealingError):
            KEY.open(replace(made, sealed=wrong))


def test_what_stands_beside_a_seal_counts_for_nothing() -> None:
    forged = replace(seal(GIVEN), token="another", document="{}", reference=Reference(0, 1))
    opened = KEY.open(forged)
    assert (opened.token, opened.document, opened.reference) == (GIVEN.token, GIVEN.document, None)


@pytest.mark.parametrize(
    "grant",
    [
        replace(GIVEN, holder=HOLDER),
        replace(GIVEN, holder=NO_POINT),
        replace(GIVEN, document=None, reference=Reference(0, 1)),
        replace(GIVEN, document='{"grown": 1}', reference=Reference(0, 1)),
    ],
)
def test_what_can_t_be_sealed_is_an_error_and_no_open_grant(grant: Command) -> None:
    with pytest.raises(SealingError):
        seal(grant)


# the key is the holder's name


@pytest.mark.parametrize(
    "holder",
    [
        *("", "w1", "w1:1", HOLDER),
        *(f"w1:{start}:{NAME}" for start in ("x", "²", "1" * 16)),
        *(f"w1:1:{NAME}=", f"w1:1:{NAME[1:]}", "w1:1:" + "é" * 43),
    ],
)
def test_a_name_without_a_key_has_none(holder: str) -> None:
    assert key_of(holder) is None


def test_a_seat_is_named_by_the_public_key_and_nothing_private_is_on_disk(tmp_path: Path) -> None:
    key = HolderKey()
    seat = Seat(tmp_path, "w1", key.text)
    assert seat.holder.endswith(f":{key.text}")
    assert key_text(key_of(seat.holder) or b"") == key.text
    private = key._private.private_bytes_raw()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.text.encode() in written
    assert private not in written
    assert key_text(private).encode() not in written
    seat.leave()


# the ledger


def sealing_ledger(**policy: Any) -> Ledger:
    return Ledger(Policy(sealing=True, **policy))


def test_a_claim_for_a_holder_without_a_key_is_refused_and_its_job_waits_for_another() -> None:
    ledger = sealing_ledger()
    job = ledger.submit()
    ledger.claim(job)
    assert ledger.commands == []
    assert ledger.answers[f"{job}/1"]["result"] == "refused"
    assert ledger.waiting[f"{job}/2"].needs.avoid == ("w1",)
    assert "has no key to seal a grant to" in str(ledger.of(job)[-1].reason)
    ledger.claim(job, 2, HOLDER_WITH_KEY, "c2")
    (grant,) = ledger.commands
    assert (grant.holder, grant.attempt) == (HOLDER_WITH_KEY, 2)


def test_a_job_that_only_holders_without_keys_are_claimed_for_fails_in_the_end_and_says_why() -> None:
    ledger = sealing_ledger(free_releases=1, retry=False)
    job = ledger.submit()
    for attempt in (1, 2):
        ledger.claim(job, attempt)
    assert ledger.statuses(job)[-1] == "job-failed"
    assert "has no key to seal a grant to" in str(ledger.of(job)[-1].error)


def test_a_document_to_be_sealed_is_in_its_grant_however_large_it_is() -> None:
    body = {"type": "t", "params": {"x": "y" * 2 * COMMAND_DOCUMENT_LIMIT}}
    ledger = sealing_ledger()
    job = ledger.submit(body=body)
    ledger.claim(job, holder=HOLDER_WITH_KEY)
    (grant,) = ledger.commands
    assert grant.reference is None
    assert json.loads(str(grant.document))["params"] == body["params"]


def test_a_log_without_the_word_is_decided_as_before() -> None:
    assert Policy.of("{}").sealing is False
    assert policy_of(Settings()).sealing is False
    assert Policy.of(policy_of(SEALING).json()).sealing is True


# what the orchestrator writes


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path, sealing=True)


def submit(owner: Owner, size: int = 10) -> str:
    family = family_of_hash("h")
    job = job_id(family, "s1", "h", "c", QUEUE)
    body = orjson.dumps({"type": "t", "params": {"x": "pr1vate" * size}, "job_info": {"id": job}}).decode()
    owner.send(family, Submitted("s1", "h", True, (NewJob(job, QUEUE, "c", 0, Needs(), body),)))
    return job


def grants(owner: Owner) -> list[Command]:
    return [Command.of(one) for one in owner.publisher.read(TOPOLOGY.commands, "command") if one["kind"] == GRANT]


def follow(owner: Owner, policy: Policy) -> None:
    owner.send("", PolicySet("id", policy.json()))


@pytest.mark.parametrize("size", [10, COMMAND_DOCUMENT_LIMIT])
def test_a_grant_on_the_topic_shows_neither_token_nor_parameters(owner: Owner, size: int) -> None:
    follow(owner, Policy(sealing=True))
    job = submit(owner, size)
    for _ in range(2):
        # the same claim again: the first answer may be lost
        owner.send(family_of_job(job), Claim(job, 1, QUEUE, HOLDER_WITH_KEY, "c"))
    shown = token(b"key", job, 1, HOLDER_WITH_KEY)
    written = [value for _, value, _ in owner.publisher.records[TOPOLOGY.commands.name]]
    assert len(written) == 2
    assert len(set(written)) == 2
    assert not [value for value in written if value and (b"pr1vate" in value or shown.encode() in value)]
    for grant in grants(owner):
        opened = KEY.open(grant)
        assert opened.token == shown
        assert "pr1vate" in str(opened.document)


@pytest.mark.parametrize(
    ("holder", "size"),
    [(HOLDER, 10), (NO_POINT, 10), (HOLDER_WITH_KEY, COMMAND_DOCUMENT_LIMIT)],
    ids=["no key", "no point", "large"],
)
def test_what_can_t_be_sealed_is_kept_back_until_its_lease_runs_out(owner: Owner, holder: str, size: int) -> None:
    # the policy that says so is not decided by yet
    job = submit(owner, size)
    owner.send(family_of_job(job), Claim(job, 1, QUEUE, holder, "c"))
    assert TOPOLOGY.commands.name not in owner.publisher.records
    follow(owner, Policy(sealing=True))
    for _ in range(20):
        owner.tick(5000)
    assert [(fact.attempt, fact.status) for fact in owner.facts()][-1] == (2, "job-queued")
    owner.send(family_of_job(job), Claim(job, 2, QUEUE, HOLDER_WITH_KEY, "c2"))
    (grant,) = grants(owner)
    assert "pr1vate" in str(KEY.open(grant).document)


def test_the_log_of_a_sealing_ledger_is_replayed_to_the_same_facts(owner: Owner) -> None:
    follow(owner, Policy(sealing=True))
    job = submit(owner)
    for attempt, holder in ((1, HOLDER), (2, HOLDER_WITH_KEY)):
        owner.send(family_of_job(job), Claim(job, attempt, QUEUE, holder, f"c{attempt}"))
    fold = Fold(0)
    steps = [fold.apply(Recorded.read(CODEC, one.offset, one.timestamp, one.key, one.value)) for one in owner.log]
    assert [fact for step in steps for fact in step.facts] == owner.facts()


def test_unsealed_commands_are_written_as_releases_before_this_one_read_them(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    job = submit(owner)
    owner.send(family_of_job(job), Claim(job, 1, QUEUE, HOLDER, "c"))
    ((_, value, headers),) = owner.publisher.records[TOPOLOGY.commands.name]
    assert (value or b"")[2:10] == fingerprint_of(published("command")[0][1])
    assert Protocol.in_headers(headers).understands(Protocol(1, 1))
    assert grants(owner)[0].sealed is None


@pytest.mark.parametrize("kind", [STOP, PERMIT])
def test_a_worker_of_an_earlier_release_can_read_what_is_said_of_its_attempt_once_grants_are_sealed(
    owner: Owner, kind: str
) -> None:
    value = owner.outputs.command(Command(kind, HOLDER, "f-1", 1, reason="why"), "f").value or b""
    assert value[2:10] == fingerprint_of(published("command")[0][1])
    assert Command.of(CODEC.decode("command", value)).reason == "why"


def test_sealed_commands_say_that_older_workers_do_not_understand_them(owner: Owner) -> None:
    follow(owner, Policy(sealing=True))
    job = submit(owner)
    owner.send(family_of_job(job), Claim(job, 1, QUEUE, HOLDER_WITH_KEY, "c"))
    ((_, _, headers),) = owner.publisher.records[TOPOLOGY.commands.name]
    assert Protocol.in_headers(headers) == own(True)
    assert not Protocol.in_headers(headers).understands(Protocol(1, 1))
    assert Protocol.in_setting(orjson.loads(owner.outputs.announcement().value or b"")) == own(True)
