"""A process dies at every crash point, and a few die at any time: nothing is lost, run twice, or told otherwise."""

from pathlib import Path

import pytest

from pipeline.crash_points import POINTS
from tests.chaos.plan import deaths
from tests.chaos.report import figures
from tests.chaos.run import Asked, chaos
from tests.waiting import PATIENCE

#: The order and the passes; any other must do as well.
SEED = 28
#: Beyond those at crash points.
AT_RANDOM = 5


@pytest.mark.integration
@pytest.mark.timeout(1500)
def test_a_death_at_each_crash_point_costs_nothing(servers_home: Path) -> None:
    asked = Asked(SEED, kills=len(POINTS) + AT_RANDOM, seconds=600 * PATIENCE, actions=("kill",), passes=3)
    result = chaos(servers_home / "chaos", asked, lambda line: print(line, flush=True))
    print(*figures(result), *result.record.by_themselves, sep="\n")
    assert result.wrong == []
    # a loop that got no processor ends its process by design; whatever else ends by itself is a defect
    assert [one for one in result.record.by_themselves if "exit 1" in one and "stood still" not in one] == []
    assert {one.point for one in result.record.died} >= set(POINTS)


def test_a_seed_plans_every_point_by_every_signal_once_and_the_same_again() -> None:
    plan = deaths(7)
    planned = [(death.point, death.action) for mine in plan.values() for death in mine]
    assert sorted(planned) == sorted((point, action) for point in POINTS for action in ("kill", "term"))
    assert plan == deaths(7)
    assert plan != deaths(8)
