"""What of a partition's records concerns one job: fed with all of them, keeps few."""

from collections import OrderedDict

from pipeline.codec import Codec
from pipeline.identity import family_of_job
from pipeline.messages.inbox import Due, Heartbeat, PolicySet, Tick
from pipeline.replay.recorded import Recorded

#: Ticks that are remembered until something is seen to have fallen due by one: that follows within a batch or two.
_TICKS = 1000


class Selection:
    """Collects a job's history; records must come in order."""

    def __init__(self, job_id: str, codec: Codec) -> None:
        self._job_id = job_id
        self._key = family_of_job(job_id).encode()
        self._codec = codec
        self._kept: dict[int, Recorded] = {}
        self._ticks: OrderedDict[int, Recorded] = OrderedDict()
        self._first: set[tuple[int, str]] = set()
        self._last: dict[tuple[int, str], Recorded] = {}

    def take(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> None:
        """Look at a record: most are other families', and their keys tell without decoding."""
        if key == self._key:
            record = Recorded.read(self._codec, offset, timestamp, key, value)
            self._kept[offset] = record
            self._keep_tick(record)
        elif not key:
            self._of_all(Recorded.read(self._codec, offset, timestamp, key, value))

    def records(self) -> tuple[Recorded, ...]:
        """Return what was kept, in order."""
        kept = self._kept | {one.offset: one for one in self._last.values()}
        return tuple(kept[offset] for offset in sorted(kept))

    def _of_all(self, record: Recorded) -> None:
        match record.message.body if record.message is not None else None:
            case PolicySet():
                self._kept[record.offset] = record
            case Tick():
                self._ticks[record.offset] = record
                if len(self._ticks) > _TICKS:
                    self._ticks.popitem(last=False)
            case Heartbeat() as heartbeat:
                for held in heartbeat.attempts:
                    if held.job_id == self._job_id:
                        self._heard((held.attempt, heartbeat.holder), record)

    def _heard(self, attempt: tuple[int, str], record: Recorded) -> None:
        if attempt in self._first:
            self._last[attempt] = record
        else:
            self._first.add(attempt)
            self._kept[record.offset] = record

    def _keep_tick(self, record: Recorded) -> None:
        body = record.message.body if record.message is not None else None
        if isinstance(body, Due) and body.job_id == self._job_id and (tick := self._ticks.get(body.tick)) is not None:
            self._kept[tick.offset] = tick
