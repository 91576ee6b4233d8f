"""Chunks of what attempts print: cut within bounds, and put together again."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import Codec
from pipeline.logs.chunker import CHUNK, HEARTBEAT, LINGER, Bounds, Chunker
from pipeline.logs.reading import Assembler
from pipeline.messages.log import BROKER, LIMIT, RATE, LogChunk
from pipeline.topology import LOG_LIMIT

MIB = 1 << 20
PLENTY = Bounds(limit=16 * MIB, rate=16 * MIB)


def made(bounds: Bounds = PLENTY) -> Chunker:
    return Chunker("f-1", 1, bounds, 0.0, "w1")


def taken(chunker: Chunker, now: float) -> list[LogChunk]:
    def each() -> Iterator[LogChunk]:
        while (chunk := chunker.take(now)) is not None:
            yield chunk

    return list(each())


def read(chunks: list[LogChunk]) -> tuple[dict[str, bytes], list[str]]:
    assembler, streams, remarks = Assembler(), {"stdout": b"", "stderr": b""}, []
    for chunk in chunks:
        piece = assembler.add(chunk)
        streams[piece.stream] += piece.data
        remarks += [piece.remark] if piece.remark else []
    return streams, remarks


def test_what_is_printed_in_pieces_within_a_moment_is_one_chunk() -> None:
    chunker = made()
    assert chunker.feed("stdout", b"hel", 0.0)
    assert not chunker.feed("stdout", b"lo", LINGER / 2)
    assert chunker.take(LINGER / 2) is None
    assert chunker.next(LINGER / 2) == pytest.approx(LINGER / 2)
    (chunk,) = taken(chunker, LINGER)
    assert (chunk.seq, chunk.stream, chunk.offset, chunk.data, chunk.last) == (1, "stdout", 0, b"hello", False)


def test_a_partial_line_doesnt_wait_for_its_end() -> None:
    chunker = made()
    chunker.feed("stdout", b"Password: ", 0.0)
    assert [chunk.data for chunk in taken(chunker, LINGER)] == [b"Password: "]


def test_a_chunks_worth_doesnt_wait_for_more() -> None:
    chunker = made()
    chunker.feed("stdout", b"x" * (CHUNK - 1), 0.0)
    assert chunker.feed("stdout", b"xx", 0.0)
    assert [len(chunk.data) for chunk in taken(chunker, 0.0)] == [CHUNK]


def test_a_stream_that_began_earlier_comes_first() -> None:
    chunker = made()
    chunker.feed("stderr", b"warning", 0.0)
    chunker.feed("stdout", b"result", 0.05)
    assert [(chunk.stream, chunk.seq) for chunk in taken(chunker, 1.0)] == [("stderr", 1), ("stdout", 2)]


def test_the_end_of_both_streams_is_said_once_even_where_nothing_was_printed() -> None:
    chunker = made()
    chunker.end()
    assert chunker.next(0.0) == 0.0
    assert [(chunk.stream, chunk.data, chunk.last) for chunk in taken(chunker, 0.0)] == [
        ("stdout", b"", True),
        ("stderr", b"", True),
    ]
    assert chunker.done
    assert taken(chunker, 99.0) == []


def test_what_comes_after_the_end_is_dropped() -> None:
    chunker = made()
    chunker.end()
    assert not chunker.feed("stdout", b"late", 0.0)
    assert read(taken(chunker, 0.0)) == ({"stdout": b"", "stderr": b""}, [])


def test_a_quiet_attempt_says_now_and_then_that_it_runs() -> None:
    chunker = made()
    chunker.feed("stdout", b"abc", 0.0)
    assert len(taken(chunker, LINGER)) == 1
    assert chunker.next(LINGER) == pytest.approx(HEARTBEAT)
    (beat,) = taken(chunker, LINGER + HEARTBEAT)
    assert (beat.data, beat.offset, beat.last) == (b"", 3, False)


def test_what_comes_faster_than_the_rate_gives_way_to_what_is_newer_and_is_said() -> None:
    chunker = made(Bounds(limit=MIB, rate=10_000, waiting=20_000))
    chunker.feed("stdout", b"a" * 10_000, 0.0)
    chunks = taken(chunker, LINGER)
    chunker.feed("stdout", b"b" * 50_000, LINGER)
    chunks += taken(chunker, 1.0 + LINGER)
    streams, remarks = read(chunks)
    assert streams["stdout"] == b"a" * 10_000 + b"b" * 10_000
    assert (chunks[-1].missing, chunks[-1].why) == (30_000, RATE)
    assert remarks == ["30000 bytes of stdout are missing here: it was printed faster than logs are sent"]


def test_a_slow_trickle_under_the_rate_loses_nothing() -> None:
    chunker, chunks = made(Bounds(limit=MIB, rate=1000, waiting=2000)), []
    for tenth in range(300):
        chunker.feed("stdout", b"%9d\n" % tenth * 9, tenth / 10)
        chunks += taken(chunker, tenth / 10)
    chunker.end()
    chunks += taken(chunker, 30.0)
    streams, remarks = read(chunks)
    assert streams["stdout"] == b"".join(b"%9d\n" % tenth * 9 for tenth in range(300))
    assert remarks == []


def test_beyond_the_limit_only_the_end_is_sent() -> None:
    chunker, chunks = made(Bounds(limit=1000, rate=MIB, waiting=500)), []
    for number in range(100):
        chunker.feed("stdout", b"%99d\n" % number, number / 10)
        chunks += taken(chunker, number / 10 + LINGER)
    assert sum(len(chunk.data) for chunk in chunks) == 1000
    chunker.end()
    streams, remarks = read(chunks + taken(chunker, 10.0))
    assert streams["stdout"] == b"".join(b"%99d\n" % n for n in [*range(10), *range(95, 100)])
    assert remarks == ["8500 bytes of stdout are missing here: it was more than is sent of an attempt's output"]


def test_bytes_that_give_way_while_no_broker_takes_any_are_said_to_be_lost_to_it() -> None:
    chunker = made(Bounds(limit=MIB, rate=MIB, waiting=10))
    chunker.block(True)
    chunker.feed("stdout", b"0123456789abc", 0.0)
    chunker.block(False)
    (chunk,) = taken(chunker, 1.0)
    assert (chunk.offset, chunk.data, chunk.missing, chunk.why) == (3, b"3456789abc", 3, BROKER)


def test_a_chunk_that_was_lost_is_said_with_the_next() -> None:
    chunker = made()
    chunker.feed("stdout", b"gone", 0.0)
    (gone,) = taken(chunker, 1.0)
    chunker.lost(gone)
    chunker.feed("stdout", b"here", 1.0)
    (chunk,) = taken(chunker, 2.0)
    assert (chunk.missing, chunk.why) == (4, BROKER)
    assert read([chunk])[1] == ["4 bytes of stdout are missing here: no broker took it"]


def test_memory_is_bounded_whatever_comes() -> None:
    chunker = made(Bounds(limit=1000, rate=10, waiting=CHUNK))
    for number in range(1000):
        chunker.feed("stdout", b"x" * 256 * 1024, number / 1000)
    chunker.end()
    assert sum(len(chunk.data) for chunk in taken(chunker, 1.0)) == CHUNK


def test_a_record_of_the_largest_chunk_fits_its_topic() -> None:
    chunk = LogChunk("f" * 200, 2**31 - 1, "stderr", 2**60, 2**60, b"\xff" * CHUNK, 2**60, LIMIT, True, "w" * 80)
    data = Codec().encode("log", chunk.record())
    assert len(data) < LOG_LIMIT
    assert LogChunk.of(Codec().decode("log", data)) == chunk


_PARTS = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=300), st.floats(0, 0.5)))


@given(_PARTS, st.integers(0, 500), st.integers(1, 2000), st.integers(1, 400))
def test_each_byte_is_sent_once_in_its_place_or_said_to_be_missing(
    parts: list[tuple[str, bytes, float]], limit: int, rate: int, waiting: int
) -> None:
    chunker, now = made(Bounds(limit, rate, waiting)), 0.0
    whole = {"stdout": b"", "stderr": b""}
    chunks: list[LogChunk] = []
    for name, data, pause in parts:
        now += pause
        chunker.feed(name, data, now)
        whole[name] += data
        chunks += taken(chunker, now)
    chunker.end()
    chunks += taken(chunker, now)
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    ends = {"stdout": 0, "stderr": 0}
    for chunk in chunks:
        assert chunk.offset == ends[chunk.stream] + chunk.missing
        ends[chunk.stream] = chunk.offset + len(chunk.data)
        assert whole[chunk.stream][chunk.offset : ends[chunk.stream]] == chunk.data
    assert ends == {name: len(data) for name, data in whole.items()}
    assert sum(len(chunk.data) for chunk in chunks) <= limit + 2 * waiting


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_chunks_that_come_again_add_nothing(parts: list[bytes], data: st.DataObject) -> None:
    chunker = made()
    chunks = []
    for number, part in enumerate(parts):
        chunker.feed("stdout", part, float(number))
        chunks += taken(chunker, number + 0.5)
    again = data.draw(st.integers(0, len(chunks)))
    streams, remarks = read([*chunks[:again], *chunks])
    assert (streams["stdout"], remarks) == (b"".join(parts), [])
