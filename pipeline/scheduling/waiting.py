"""What waits: buckets of jobs with equal needs, and in each a heap for every priority.

Within a priority the order is that of `since`; across priorities it is that of the rank, `since` - priority x
step. So the first of a bucket is the smallest of a few heads, and nothing else is looked at. A job costs
one tuple, one key and one place in a dict (about 300 bytes), since a million may wait.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from pipeline.messages.needs import Needs
from pipeline.messages.run import Run

#: since (ms), run key, number of the lane. An entry of a heap that is not the one in the dict is out of date.
Entry = tuple[int, str, int]

#: Out-of-date entries that a lane may hold beside as many as wait in it.
_SLACK = 64
_NO_PARTITIONS: frozenset[int] = frozenset()


class Lane:
    """The jobs of one bucket and priority; `parked` are those taken aside because their partition was slow."""

    __slots__ = ("bucket", "depth", "heap", "number", "parked", "priority")

    def __init__(self, number: int, bucket: "Bucket", priority: int) -> None:
        self.number = number
        self.bucket = bucket
        self.priority = priority
        self.depth = 0
        self.heap: list[Entry] = []
        self.parked: dict[int, list[Entry]] = {}

    def size(self) -> int:
        """Return how many entries are kept, those out of date included."""
        return len(self.heap) + sum(map(len, self.parked.values()))


class Bucket:
    """Waiting jobs of one queue with equal needs, and what is remembered of matching them (see `match`)."""

    __slots__ = ("blocked_in", "depth", "judged_in", "lanes", "name", "needs", "queue", "why_not")

    def __init__(self, name: tuple[object, ...], queue: str, needs: Needs) -> None:
        self.name = name
        self.queue = queue
        self.needs = needs
        self.depth = 0
        self.lanes: dict[int, Lane] = {}
        self.blocked_in = -1
        self.judged_in = -1
        self.why_not = ""


class Head(NamedTuple):
    """The first job of a bucket; smaller ranks go first, and the key decides between equal ones."""

    rank: int
    key: str
    since: int
    bucket: Bucket
    heap: list[Entry]


class Waiting:
    """All waiting jobs by run key. `partition_of` gives the inbox partition of a job id."""

    def __init__(self, step_ms: int, partition_of: Callable[[str], int]) -> None:
        self._step = step_ms
        self._partition_of = partition_of
        self._entries: dict[str, Entry] = {}
        self._lanes: dict[int, Lane] = {}
        self._buckets: dict[tuple[object, ...], Bucket] = {}
        self._numbers = 0

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def buckets(self) -> Iterator[Bucket]:
        """Yield the buckets in which something waits."""
        yield from self._buckets.values()

    def bucket_of(self, key: str) -> Bucket | None:
        """Return the bucket that a job waits in."""
        entry = self._entries.get(key)
        return None if entry is None else self._lanes[entry[2]].bucket

    def since(self, key: str) -> int:
        """Return since when a waiting job waits (ms)."""
        return self._entries[key][0]

    def add(self, run: Run) -> None:
        """Put a job in line; one that waits already moves to its new place."""
        lane = self._lane(run.queue, run.needs, run.priority)
        key = run.key
        known = self._entries.get(key)
        if known is not None:
            if known[0] == run.since and known[2] == lane.number:
                return
            self._count(lane, 1)
            self.remove(key)
        else:
            self._count(lane, 1)
        entry = (run.since, key, lane.number)
        self._entries[key] = entry
        heappush(lane.heap, entry)
        self._compact(lane)

    def remove(self, key: str) -> Bucket | None:
        """Take a job out of line wherever it is; return its bucket, None where it did not wait."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        lane = self._lanes[entry[2]]
        self._count(lane, -1)
        self._compact(lane)
        return lane.bucket

    def forget(self, queue: str) -> None:
        """Take all jobs of a queue out of line."""
        gone = {number for number, lane in self._lanes.items() if lane.bucket.queue == queue}
        self._entries = {key: entry for key, entry in self._entries.items() if entry[2] not in gone}
        self._lanes = {number: lane for number, lane in self._lanes.items() if number not in gone}
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if bucket.queue != queue}

    def head(self, bucket: Bucket, slow: frozenset[int] = _NO_PARTITIONS) -> Head | None:
        """Return the bucket's first job that is in none of the slow partitions."""
        heads = (head for lane in bucket.lanes.values() for head in self._heads(lane, slow))
        return min(heads, default=None)

    def heads(self, bucket: Bucket) -> Iterator[Head]:
        """Yield the first job of each priority."""
        for lane in bucket.lanes.values():
            yield from self._heads(lane, _NO_PARTITIONS)

    def take(self, head: Head) -> None:
        """Take a bucket's head out of line while it is claimed; it still counts as waiting."""
        heappop(head.heap)

    def give_back(self, key: str) -> None:
        """Put a job whose claim counts no more in line again."""
        entry = self._entries.get(key)
        if entry is not None:
            heappush(self._lanes[entry[2]].heap, entry)

    def before(self, key: str) -> int:
        """Return how many jobs of the same queue have a smaller rank; looks at every job."""
        mine = self._rank(self._entries[key])
        queue = self._lanes[self._entries[key][2]].bucket.queue
        lanes = {number for number, lane in self._lanes.items() if lane.bucket.queue == queue}
        return sum(1 for entry in self._entries.values() if entry[2] in lanes and self._rank(entry) < mine)

    def _rank(self, entry: Entry) -> tuple[int, str]:
        return entry[0] - self._lanes[entry[2]].priority * self._step, entry[1]

    def _heads(self, lane: Lane, slow: frozenset[int]) -> Iterator[Head]:
        self._park(lane, slow)
        for number, heap in [(-1, lane.heap), *lane.parked.items()]:
            self._drop_stale(heap)
            if heap and number not in slow:
                since, key, _ = heap[0]
                yield Head(since - lane.priority * self._step, key, since, lane.bucket, heap)
            elif not heap and number >= 0:
                del lane.parked[number]

    def _park(self, lane: Lane, slow: frozenset[int]) -> None:
        """Move the jobs of slow partitions aside until another's is first: each moves once, not at each look."""
        while slow:
            self._drop_stale(lane.heap)
            partition = self._partition_of(lane.heap[0][1].rpartition("/")[0]) if lane.heap else -1
            if partition not in slow:
                return
            heappush(lane.parked.setdefault(partition, []), heappop(lane.heap))

    def _drop_stale(self, heap: list[Entry]) -> None:
        while heap and self._entries.get(heap[0][1]) is not heap[0]:
            heappop(heap)

    def _lane(self, queue: str, needs: Needs, priority: int) -> Lane:
        labels = tuple(sorted(needs.labels.items())) if needs.labels else ()
        name = (queue, needs.memory_mib, needs.disk_mib, needs.gpus, needs.engine, needs.avoid, labels)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(name, queue, needs)
        lane = bucket.lanes.get(priority)
        if lane is None:
            self._numbers += 1
            lane = bucket.lanes[priority] = self._lanes[self._numbers] = Lane(self._numbers, bucket, priority)
        return lane

    def _count(self, lane: Lane, change: int) -> None:
        lane.depth += change
        lane.bucket.depth += change

    def _compact(self, lane: Lane) -> None:
        if not lane.depth:
            del self._lanes[lane.number]
            del lane.bucket.lanes[lane.priority]
            if not lane.bucket.lanes:
                del self._buckets[lane.bucket.name]
        elif lane.size() > 2 * lane.depth + _SLACK:
            for heap in (lane.heap, *lane.parked.values()):
                heap[:] = [entry for entry in heap if self._entries.get(entry[1]) is entry]
                heapify(heap)
