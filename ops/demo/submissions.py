"""What the demo submits, and what must become of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.codec import Codec
from pipeline.statuses import Status

JOB_TYPE = "job:terrain"
GRID = (3, 4)
#: Seconds that the job with a limit may take, and that it would take.
LIMIT, LINGER = 3, 600
#: A tile that the model doesn't have.
OUTSIDE = (9, 9)
_JSON_TEXTS = ("payload", "container_mappings", "runtime_options")


@dataclass(frozen=True, slots=True)
class Planned:
    """One submission: its fields as `schemas/submission.avsc` names them, and the status that its job must end with.

    `original` is the label of the submission that it repeats; `reason` is part of the error that it must end with.
    """

    label: str
    fields: Mapping[str, Any]
    expected: Status
    original: str | None = None
    reason: str = ""
    as_json: bool = False

    @property
    def id(self) -> str:
        """The submission's id."""
        return str(self.fields["submission_id"])

    def encoded(self, codec: Codec) -> bytes:
        """Return the record's value: Avro, in which objects are JSON texts, or plain JSON."""
        if self.as_json:
            return orjson.dumps(self.fields)
        texts = {name: orjson.dumps(self.fields[name]).decode() for name in _JSON_TEXTS if name in self.fields}
        return codec.encode("submission", {**self.fields, **texts})


def plan(run: str, container: Mapping[str, Any] | None = None) -> list[Planned]:
    """Return the submissions of a run in their order; `container` are further fields of those that run in one.

    `run` is part of each product's name, so that no run finds products of another in its way.
    """
    maker = _Maker(run, dict(container or {}))
    tiles = [maker.tile((row, col)) for row in range(GRID[0]) for col in range(GRID[1])]
    return [
        # first, so that its limit passes while the others run
        maker.too_slow(),
        *tiles,
        maker.outside(),
        maker.without_payload(),
        maker.again(tiles[0]),
        maker.again(tiles[-1], as_json=True),
    ]


@dataclass(frozen=True, slots=True)
class _Maker:
    run: str
    container: Mapping[str, Any]

    def tile(self, tile: tuple[int, int]) -> Planned:
        label = f"tile {tile[0]},{tile[1]}"
        # every fourth in the other format: both are first class
        return Planned(label, self._fields(label, tile), Status.COMPLETED, as_json=tile[1] == GRID[1] - 1)

    def too_slow(self) -> Planned:
        label = "too slow"
        fields = self._fields(label, (0, 0), LINGER) | {"soft_time_limit": LIMIT}
        return Planned(label, fields, Status.FAILED, reason=f"time limit of {LIMIT} s exceeded")

    def outside(self) -> Planned:
        label = f"tile {OUTSIDE[0]},{OUTSIDE[1]}"
        return Planned(label, self._fields(label, OUTSIDE), Status.FAILED, reason="outside the model")

    def without_payload(self) -> Planned:
        label = "no payload"
        fields = {"job_type": JOB_TYPE, "submission_id": self._id(label), "tag": self.run}
        return Planned(label, fields, Status.FAILED, reason="payload: Field required", as_json=True)

    def again(self, original: Planned, *, as_json: bool = False) -> Planned:
        label = f"{original.label} again"
        fields = {**original.fields, "submission_id": self._id(label)}
        return Planned(label, fields, Status.DEDUPED, original=original.label, as_json=as_json)

    def _fields(self, label: str, tile: tuple[int, int], linger: int = 0) -> dict[str, Any]:
        payload = {"tile": f"{tile[0]},{tile[1]}", "name": self.run, "linger": linger}
        return {
            "job_type": JOB_TYPE,
            "payload": payload,
            "submission_id": self._id(label),
            "tag": self.run,
            **self.container,
        }

    def _id(self, label: str) -> str:
        return f"{self.run}-{label.replace(' ', '-').replace(',', '-')}"
