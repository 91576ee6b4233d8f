"""How many submissions the gate lets into the inbox: by the ledger's rate, and by a limit whatever it is."""

from agents.gate.pace import Pace

TWO = {0: 0, 1: 0}


def test_nothing_may_go_on_before_the_first_look() -> None:
    assert Pace(1000, 0.2).allowance(0) == 0


def test_a_ledger_that_did_nothing_yet_gets_a_few_a_partition() -> None:
    pace = Pace(1000, 0.2)
    pace.look(0.0, TWO, TWO)
    assert pace.allowance(0) == 128
    assert pace.allowance(120) == 8
    assert pace.allowance(200) == 0


def test_what_lies_there_is_worth_the_delay_at_the_ledgers_rate() -> None:
    pace = Pace(1000, 0.2)
    pace.look(0.0, TWO, TWO)
    pace.look(1.0, {0: 500, 1: 500}, {0: 500, 1: 500})
    assert pace.allowance(0) == 200
    pace.look(2.0, {0: 1000, 1: 1000}, {0: 1000, 1: 1090})
    assert pace.allowance(0) == 20


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pace = Pace(1000, 0.2)
    pace.look(0.0, TWO, TWO)
    for second in range(1, 6):
        applied = min(second, 2) * 1000
        pace.look(float(second), {0: applied, 1: applied}, {0: applied, 1: applied})
    assert pace.allowance(0) == 128


def test_the_limit_counts_however_fast_the_ledger_is() -> None:
    pace = Pace(100, 0.2)
    pace.look(0.0, TWO, TWO)
    pace.look(1.0, {0: 10_000, 1: 10_000}, {0: 10_000, 1: 10_000})
    assert pace.allowance(0) == 200


def test_a_small_limit_is_kept_below_the_floor() -> None:
    pace = Pace(5, 0.2)
    pace.look(0.0, TWO, TWO)
    assert pace.allowance(0) == 10


def test_a_ledger_that_stands_still_gets_no_more() -> None:
    pace = Pace(1000, 0.2)
    pace.look(0.0, TWO, TWO)
    pace.look(1.0, TWO, {0: 64, 1: 64})
    assert pace.allowance(0) == 0


def test_a_topic_that_was_made_anew_is_judged_anew() -> None:
    pace = Pace(1000, 0.2)
    pace.look(0.0, {0: 5000, 1: 5000}, {0: 5000, 1: 5000})
    pace.look(1.0, TWO, TWO)
    assert pace.allowance(0) == 128


def test_it_is_idle_while_the_ledger_has_nothing_to_do() -> None:
    pace = Pace(1000, 0.2)
    assert not pace.idle
    pace.look(0.0, TWO, {0: 0, 1: 1})
    assert not pace.idle
    pace.look(1.0, {0: 0, 1: 1}, {0: 0, 1: 1})
    assert pace.idle
