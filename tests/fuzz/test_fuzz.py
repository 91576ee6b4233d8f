"""A short run of the fuzzer, and whether it would notice; the long one is `make fuzz`."""

import pytest

from agents.gate import submissions
from agents.gate.record import TooLargeError
from pipeline import codec
from pipeline.foreign_schema import UnsafeSchemaError
from tests.fuzz.run import run


@pytest.mark.parametrize("seed", [1, 2])
def test_every_input_ends_as_a_message_or_a_dead_letter(seed: int) -> None:
    report = run(seed, seconds=60.0, inputs=4000)
    assert report.found is None
    assert sum(report.came.values()) >= report.inputs
    assert {"submitted", "rejected", "report", "heartbeat", "tick", "control", "dead letter"} <= set(report.came)


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second = (run(7, seconds=60.0, inputs=300).came for _ in range(2))
    assert first == second


def test_it_notices_an_error_that_would_end_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "TooLargeError", KeyError)
    monkeypatch.setattr(submissions, "jobs_of", _unable)
    with pytest.raises(TooLargeError):
        run(1, seconds=60.0, inputs=4000)


def test_it_tries_schemas_of_themselves_and_values_without_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    checked = codec.usable

    def listening(raw: object) -> object:
        try:
            return checked(raw)
        except UnsafeSchemaError as error:
            refused.append(str(error))
            raise

    monkeypatch.setattr(codec, "usable", listening)
    run(1, seconds=60.0, inputs=2000)
    assert any("its own type" in one for one in refused)
    assert any("no bytes" in one for one in refused)


def _unable(*_: object) -> None:
    raise TooLargeError
