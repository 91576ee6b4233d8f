"""What a sender may ask for, and how it is told what is wrong."""

from typing import Any

import orjson
import pytest

from pipeline.codec import Codec, decode_json
from pipeline.ledger.state import MAX_STUBS, Family, Job, Stub
from pipeline.statuses import Status
from pipeline.submission import disk
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.numbers import MAX_DEPTH
from pipeline.submission.request import Submission, parse
from pipeline.topic import RECORD_LIMIT
from pipeline.topology import SUBMISSION_LIMIT

LEAST: dict[str, Any] = {"job_type": "job:hello", "payload": {"a": 1}}


def parsed(**fields: Any) -> Submission:
    raw = orjson.dumps(LEAST | fields)
    return parse(decode_json(raw), raw)


def test_the_least_submission_has_the_defaults() -> None:
    one = parsed()
    assert (one.type, one.payload, one.enable_dedup, one.priority) == ("hello", {"a": 1}, True, None)


def test_avro_and_json_say_the_same() -> None:
    fields = {"payload": {"a": [1, "é"]}, "context": {"b": None}, "needs": {"memory_mib": 5, "labels": {"z": "1"}}}
    codec = Codec()
    texts = {key: orjson.dumps(value).decode() for key, value in fields.items()}
    raw = codec.encode("submission", LEAST | texts)
    assert parse(codec.decode("submission", raw), raw) == parsed(**fields)


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert parsed(job_hash_id="x", anything={"a": [1]}) == parsed()


def test_urls_by_architecture_may_be_a_text() -> None:
    assert parsed(container_image_urls='{"arm64": "http://a"}') == parsed(container_image_urls={"arm64": "http://a"})


def test_a_null_is_the_same_as_nothing() -> None:
    assert parsed(priority=None, enable_dedup=None, needs=None) == parsed()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_type", ""),
        ("job_type", 5),
        ("payload", [1]),
        ("payload", "no JSON"),
        ("payload", '"text"'),
        ("priority", 10),
        ("priority", -1),
        ("priority", "5"),
        ("priority", True),
        ("priority", 1.5),
        ("enable_dedup", 1),
        ("enable_dedup", "true"),
        ("publish_overwrite_ok", "yes"),
        ("time_limit", 0),
        ("time_limit", -5),
        ("soft_time_limit", 1.5),
        ("time_limit", 2**31),
        ("submission_id", ""),
        ("submission_id", "x" * 513),
        ("payload_hash", 7),
        ("tags", "one"),
        ("tags", [1]),
        ("container_image_urls", {"arm": 1}),
        ("container_mappings", {"/a": 5}),
        ("context", [1]),
        ("needs", {"memory_mb": 5}),
        ("needs", {"memory_mib": -1}),
        ("needs", {"cpus": 0}),
        ("retry", {"oom": {}}),
        ("retry", {"publish": {"attempts": 0}}),
        ("retry", True),
        ("retry", "{"),
        ("needs", {"labels": {"a": 1}}),
        ("disk_usage", "5 apples"),
        ("max_wait", -1),
    ],
)
def test_a_wrong_value_is_refused_with_its_fields_name(field: str, value: Any) -> None:
    with pytest.raises(UnacceptableError, match=field):
        parsed(**{field: value})


@pytest.mark.parametrize("field", ["job_type", "payload"])
def test_a_missing_field_is_named(field: str) -> None:
    fields = {key: value for key, value in LEAST.items() if key != field}
    with pytest.raises(UnacceptableError, match=f"{field}: Field required"):
        parse(fields, orjson.dumps(fields))


def test_every_fault_is_told_at_once_and_no_value_is_repeated() -> None:
    with pytest.raises(UnacceptableError) as caught:
        parsed(priority="secret", time_limit="secret")
    assert "priority" in str(caught.value)
    assert "time_limit" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_submission_over_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    raw = orjson.dumps(LEAST)
    parse(LEAST, raw.ljust(SUBMISSION_LIMIT))
    with pytest.raises(UnacceptableError, match="by reference"):
        parse(LEAST, raw.ljust(SUBMISSION_LIMIT + 1))


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


def test_deep_nesting_is_refused() -> None:
    assert parsed(payload=nested(MAX_DEPTH // 2 - 1))
    with pytest.raises(UnacceptableError, match="nested deeper"):
        parsed(payload=nested(MAX_DEPTH // 2 + 1))
    with pytest.raises(UnacceptableError, match="nested deeper"):
        parsed(context=nested(60))


@pytest.mark.parametrize("text", ["12345678901234567890123", "-9223372036854775809", "18446744073709551616"])
@pytest.mark.parametrize("as_text", [True, False])
def test_an_integer_that_would_lose_digits_is_refused(text: str, as_text: bool) -> None:
    payload = f'{{"n": [{text}]}}'
    raw = f'{{"job_type": "x", "payload": {orjson.dumps(payload).decode() if as_text else payload}}}'.encode()
    with pytest.raises(UnacceptableError, match="64 bits"):
        parse(decode_json(raw), raw)


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), "12345678901234567890123", 0.12345678901234568])
def test_large_numbers_that_fit_and_long_digits_in_texts_are_kept(value: Any) -> None:
    assert parsed(payload={"n": value}).payload == {"n": value}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    raw = Codec().encode("submission", {"job_type": "x", "payload": f'{{"n": {text}}}'})
    with pytest.raises(UnacceptableError, match="payload"):
        parse(Codec().decode("submission", raw), raw)


def test_the_tag_is_the_one_given_or_the_first_of_the_tags() -> None:
    assert parsed(tag="a", tags=["b", "c"]).first_tag == "a"
    assert parsed(tags=["b", "c"]).first_tag == "b"
    assert parsed().first_tag is None


@pytest.mark.parametrize(
    ("fields", "mib"),
    [
        ({}, 0),
        ({"payload": {"_disk_usage": "3GB"}}, 3072),
        ({"payload": {"_disk_usage": "3GB"}, "disk_usage": "5MB"}, 5),
        ({"payload": {"_disk_usage": "3GB"}, "needs": {"disk_mib": 7}}, 7),
        ({"payload": {"_disk_usage": "3GB"}, "needs": {"gpus": 1}}, 3072),
    ],
)
def test_the_disk_need_comes_from_the_needs_or_else_the_usage(fields: dict[str, Any], mib: int) -> None:
    assert parsed(**fields).disk_mib() == mib


@pytest.mark.parametrize("usage", ["3", "GB", "1.5GB", "-1GB", "3TB", 3, ["3GB"], "9" * 13 + "GB", "999999999999GB"])
def test_a_disk_usage_that_cannot_be_read_is_refused(usage: Any) -> None:
    with pytest.raises(UnacceptableError, match="_disk_usage"):
        parsed(payload={"_disk_usage": usage}).disk_mib()


def test_disk_usage_is_rounded_up() -> None:
    assert [disk.mib_of(one) for one in ("0KB", "1KB", "1024KB", "1025KB", "1 MB")] == [0, 1, 1, 2, 1]


def test_a_submissions_id_is_bounded_by_the_bytes_that_it_takes_in_the_ledgers_rows() -> None:
    """500 unfinished jobs and 256 finished ones of one payload are one row, and a row is one record."""
    taken = ["x" * 512, "é" * 256, "\U00010000" * 128, "\x01" * 85]
    assert [parsed(submission_id=one).submission_id for one in taken] == taken
    for one in taken:
        with pytest.raises(UnacceptableError, match="at most 512 bytes"):
            parsed(submission_id=one[:1] + one if len(one) < 512 else one[1:] + "é")
        jobs = {f"{'f' * 64}-{number}": Job(one, "q", 5, 10**12, 10**12) for number in range(500)}
        done = {f"{'e' * 64}-{number}": Stub(one, Status.FAILED, 5, 1, 10**12) for number in range(MAX_STUBS)}
        assert len(Family("f" * 64, 1, "h" * 64, {}, jobs, done).dump()) < RECORD_LIMIT
