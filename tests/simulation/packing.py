"""A codec without Avro: most worlds use it, because encoding is half of the real one's time."""

from collections.abc import Mapping
from typing import Any

from pipeline.codec import Codec, DecodeError


class Packed(bytes):
    """Bytes that bring the record along which they stand for."""

    record: Mapping[str, Any]


class PackingCodec(Codec):
    """Hands records over as they are; the bytes are only not empty."""

    def encode(
        self, name: str, record: Mapping[str, Any], subject: str | None = None, version: int | None = None
    ) -> bytes:
        packed = Packed(b"\xc3")
        packed.record = record
        return packed

    def decode(self, name: str, data: bytes | None) -> dict[str, Any]:
        if not isinstance(data, Packed):
            raise DecodeError("not packed here")
        return data.record  # type: ignore[return-value]
