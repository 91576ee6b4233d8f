"""The index of families with unfinished jobs: what leaves it, and when."""

from pathlib import Path

from pipeline.identity import family_of_hash, family_of_job
from tests.unit.partition_support import Owner, changelog

INDEX = changelog("active").topic


def indexed(owner: Owner) -> list[tuple[bytes, bool]]:
    """The index's changelog: keys, and whether they enter."""
    return [(key, value is not None) for key, value, _ in owner.publisher.records.get(INDEX, [])]


def test_a_family_whose_jobs_have_ended_leaves_the_index_with_the_next_tick(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    job = owner.submit("h")
    owner.finish(job)
    owner.tick(1000)
    assert indexed(owner)[-1] == (family_of_job(job).encode(), False)


def test_what_a_dead_owner_entered_ahead_of_its_state_stays_until_that_is_decided_again(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.submit("other")
    family = family_of_hash("h")
    # it died between the index and the families: the message is read again
    row = owner.tables.active_row(0, family, len(owner.log) + 1, active=True)
    row.write()
    owner.recover()
    owner.tick(1000)
    assert (family.encode(), False) not in indexed(owner)
    assert family in owner.tables.active(0)
    owner.finish(owner.submit("h"))
    owner.tick(1000)
    assert indexed(owner)[-1] == (family.encode(), False)
