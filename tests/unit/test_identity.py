"""Ids follow from content, so that a repetition names the same things."""

import pytest

from pipeline import identity

KEY = b"key"


def test_the_payload_hash_is_the_one_hysds_computes() -> None:
    assert identity.payload_hash({"b": 1, "a": [1, "é"]}) == "a5c6e3de35db52b1e562903d8e73a580"


def test_keys_that_say_how_to_run_do_not_count_for_the_hash() -> None:
    plain = {"a": 1}
    more = plain | {"_disk_usage": "1GB", "_sciflo_job_num": 3, "_sciflo_wuid": "x"}
    assert identity.payload_hash(more) == identity.payload_hash(plain)
    nested = {"a": {"_disk_usage": "1GB"}}
    assert identity.payload_hash(nested) != identity.payload_hash({"a": {}})


def test_a_redelivered_submission_makes_the_same_job_and_another_payload_another() -> None:
    family = identity.family_of_hash("h")
    first = identity.job_id(family, "id", "h", "creator", "queue")
    assert first == identity.job_id(family, "id", "h", "creator", "queue")
    others = {
        identity.job_id(family, "id2", "h", "creator", "queue"),
        identity.job_id(family, "id", "h2", "creator", "queue"),
        identity.job_id(family, "id", "h", "creator2", "queue"),
        identity.job_id(family, "id", "h", "creator", "queue2"),
    }
    assert len(others | {first}) == 5


def test_parts_of_an_id_cannot_be_shifted_into_one_another() -> None:
    assert identity.job_id("f", "ab", "c", "d", "e") != identity.job_id("f", "a", "bc", "d", "e")


def test_a_principal_scopes_the_family_of_a_hash() -> None:
    assert identity.family_of_hash("h") != identity.family_of_hash("h", "alice")
    assert identity.family_of_hash("h", "alice") != identity.family_of_hash("h", "bob")


def test_a_job_id_names_its_family() -> None:
    family = identity.family_of_hash("h")
    assert identity.family_of_job(identity.job_id(family, "i", "h", "c", "q")) == family
    assert identity.family_of_job("no id at all") == "no id at all"


def test_each_attempt_has_one_task_id() -> None:
    assert identity.task_id("job", 1) == identity.task_id("job", 1)
    assert identity.task_id("job", 1) != identity.task_id("job", 2)


def test_a_token_is_good_for_its_attempt_holder_and_key_alone() -> None:
    token = identity.token(KEY, "job", 1, "holder")
    assert identity.token_is_valid(KEY, "job", 1, "holder", token)
    assert not identity.token_is_valid(KEY, "job", 2, "holder", token)
    assert not identity.token_is_valid(KEY, "job", 1, "other", token)
    assert not identity.token_is_valid(b"other", "job", 1, "holder", token)


@pytest.mark.parametrize("shown", ["", "é", "\ud800", "x" * 10_000])
def test_a_token_of_any_text_is_refused_without_an_error(shown: str) -> None:
    assert not identity.token_is_valid(KEY, "job", 1, "holder", shown)


@pytest.mark.parametrize(
    ("job_type", "type_"),
    [
        ("job:job-foo:v1", "job-foo:v1"),
        ("job-foo:v1", "job-foo:v1"),
        ("plain", "plain"),
        ("job:", ""),
        (":x", ":x"),
    ],
)
def test_a_word_before_the_first_colon_is_stripped(job_type: str, type_: str) -> None:
    assert identity.type_of(job_type) == type_


def test_of_two_holders_the_one_that_started_later_is_newer() -> None:
    assert identity.is_newer("w:200:a", "w:100:z")
    assert not identity.is_newer("w:100:a", "w:100:a")
    assert identity.is_newer("w:1:a", "nonsense")
    assert identity.worker_of("w:200:a") == "w"
