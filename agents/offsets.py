"""Where logs begin and end, and what a group committed, asked through a consumer.

The admin client's calls for this are left alone: in librdkafka 2.16 one that times out ends the whole process (a double
free, or a failed assertion), and both may be asked of a broker that is only just starting.
"""

from collections.abc import Iterable, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

#: Seconds that a call may take.
TIMEOUT = 3.0


def ends(client: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return each partition's end offset; raises OSError where the broker doesn't answer for all of them."""
    return {number: _watermarks(client, topic, number)[1] for number in partitions}


def starts(client: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return each partition's first offset; raises OSError where the broker doesn't answer for all of them."""
    return {number: _watermarks(client, topic, number)[0] for number in partitions}


def committed(client: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return what the client's group committed, without the partitions where it never did; raises OSError."""
    asked = [TopicPartition(topic, number) for number in partitions]
    try:
        answer = client.committed(asked, timeout=TIMEOUT)
    except KafkaException as error:
        raise OSError(f"{topic}: {error.args[0].str()}") from error
    return {number: offset for number, offset in _checked(answer).items() if offset >= 0}


def _watermarks(client: Consumer, topic: str, partition: int) -> tuple[int, int]:
    # one partition at a time: offsets_for_times(), which asks for many, was seen to wait without end
    try:
        answer = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT)
    except KafkaException as error:
        raise OSError(f"{topic}[{partition}]: {error.args[0].str()}") from error
    if answer is None:
        raise OSError(f"{topic}[{partition}]: no answer within {TIMEOUT} s")
    return int(answer[0]), int(answer[1])


def _checked(answer: Sequence[TopicPartition]) -> dict[int, int]:
    for one in answer:
        if one.error is not None:
            raise OSError(f"{one.topic}[{one.partition}]: {one.error.str()}")
    return {one.partition: one.offset for one in answer}
