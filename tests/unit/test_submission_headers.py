"""What a record's headers say of its submission."""

from typing import Any

import pytest

from pipeline.codec import Codec
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.headers import JOB_TYPE, PLACE, SOURCE, completed
from pipeline.submission.request import ID_BYTES, is_id

VALUE = b'{"job_type": "x", "payload": {}}'
FIELDS: dict[str, Any] = {"job_type": "x", "payload": {}}


def id_of(*headers: tuple[str, bytes | None], key: bytes | None = b"7", value: bytes = VALUE) -> Any:
    return completed(FIELDS, key, value, headers).get("submission_id")


def test_a_record_without_such_headers_is_as_it_came() -> None:
    assert completed(FIELDS, b"k", VALUE, [("client", b"\xff"), ("lsn", None)]) == FIELDS


def test_an_id_is_made_of_source_key_and_place() -> None:
    assert id_of((SOURCE, b"pg"), (PLACE, b"lsn"), ("lsn", b"123")) == "pg/7@123"
    assert id_of((SOURCE, b"pg"), (PLACE, b"lsn, tx"), ("tx", b"9"), ("lsn", b"123")) == "pg/7@123,9"
    assert id_of((SOURCE, b"pg"), (PLACE, b"lsn"), ("lsn", b"123"), key=None) == "pg@123"


def test_without_a_place_equal_records_of_a_source_are_one_submission() -> None:
    first, again = id_of((SOURCE, b"file")), id_of((SOURCE, b"file"))
    assert first == again
    assert (
        len(
            {
                first,
                id_of((SOURCE, b"file"), value=b"{}"),
                id_of((SOURCE, b"other")),
                id_of((SOURCE, b"file"), key=b"8"),
            }
        )
        == 4
    )


def test_what_the_value_says_wins() -> None:
    fields = FIELDS | {"submission_id": "mine"}
    assert completed(fields, None, VALUE, [(SOURCE, b"pg")])["submission_id"] == "mine"
    assert completed(FIELDS | {"submission_id": None}, None, VALUE, [(SOURCE, b"pg")])["submission_id"].startswith(
        "pg@"
    )


def test_a_place_that_is_missing_is_named() -> None:
    with pytest.raises(UnacceptableError, match=r"no header lsn, which jobstream\.id-headers names"):
        id_of((SOURCE, b"pg"), (PLACE, b"lsn"))


@pytest.mark.parametrize("key", [b"\xff\xfe", "ü".encode() * ID_BYTES, b"\x00" * ID_BYTES])
def test_every_key_makes_an_id_that_is_taken_and_no_two_the_same(key: bytes) -> None:
    one, other = id_of((SOURCE, b"pg"), key=key), id_of((SOURCE, b"pg"), key=key + b"1")
    assert is_id(one)
    assert one != other


def test_a_whole_value_may_be_the_payload() -> None:
    made = completed({"submission_id": "of the payload"}, None, b"{}", [(JOB_TYPE, b"tile")])
    assert made == {"job_type": "tile", "payload": {"submission_id": "of the payload"}}


def test_avro_is_no_payload() -> None:
    value = Codec().encode("submission", {"job_type": "x", "payload": "{}"})
    with pytest.raises(UnacceptableError, match="JSON object"):
        completed(Codec().decode("submission", value), None, value, [(JOB_TYPE, b"tile")])
