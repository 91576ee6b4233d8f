"""What a record's headers say of its submission, for senders that can't write it into the value, as Kafka Connect's.

Single message transforms can add a header, but can't put a text together. So the parts of an id come as they are, and
are put together here (decision 028). What the value itself says wins.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from pipeline.submission.errors import UnacceptableError
from pipeline.submission.request import is_id

#: Names where a record comes from. A submission without an id of its own is called by it, by the record's key, and by
#: its place in the source: then a record that is delivered twice is one submission.
SOURCE = "jobstream.source"
#: The names, with commas between, of the headers that tell the place: a log's position, an object's version. Without
#: it the place is a hash of the value: two equal records of a source are one submission.
PLACE = "jobstream.id-headers"
#: The job type of a record whose whole value, a JSON object, is the payload.
JOB_TYPE = "jobstream.job-type"

#: Characters of a source that are kept where an id would be too long.
_SOURCE_SHOWN = 100


def completed(
    fields: Mapping[str, Any], key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, Any]]
) -> dict[str, Any]:
    """Return a decoded record's fields with what its headers add; `value` is the record as it came.

    Raises UnacceptableError, which says what is missing, where the headers don't fit the record.
    """
    said = {name: _text(content) for name, content in headers}
    made = dict(fields)
    if job_type := said.get(JOB_TYPE):
        if value is None or value[:1] in (b"\x00", b"\xc3"):
            raise UnacceptableError(
                f"the header {JOB_TYPE} needs a value that is a JSON object, the payload: this is Avro"
            )
        made = {"job_type": job_type, "payload": made}
    if (source := said.get(SOURCE)) and made.get("submission_id") is None:
        made["submission_id"] = _id(source, key, _place(said, value))
    return made


def _place(said: Mapping[str, str], value: bytes | None) -> str:
    names = [name.strip() for name in said.get(PLACE, "").split(",") if name.strip()]
    missing = [name for name in names if not said.get(name)]
    if missing:
        raise UnacceptableError(
            f"no header {', '.join(missing)[:200]}, which {PLACE} names: have the source's transforms add it"
        )
    return ",".join(said[name] for name in names) or sha256(value or b"").hexdigest()[:32]


def _id(source: str, key: bytes | None, place: str) -> str:
    text = f"{source}/{_text(key)}@{place}" if key else f"{source}@{place}"
    return text if is_id(text) else f"{source[:_SOURCE_SHOWN]}#{sha256(text.encode()).hexdigest()}"


def _text(content: Any) -> str:
    """Return bytes as text; what isn't UTF-8 in hexadecimal digits: an id is a text."""
    if not isinstance(content, bytes):
        return "" if content is None else str(content)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.hex()
