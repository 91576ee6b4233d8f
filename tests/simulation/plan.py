"""What happens to a world: operations made from its seed, so that a run can be shrunk by leaving some out."""

from collections.abc import Callable
from random import Random
from typing import Any

Operation = tuple[str, tuple[Any, ...]]

_ACTIONS = ("revoke", "retry", "retry", "retry!", "reprioritise", "republish")
#: Kinds of records after whose delivery an owner dies or stands still: between them lie its awaits.
_PLACES = (*["commands"] * 4, "events", "run", "families", "documents", "active", "inbox", "reports")
#: (name, weight, arguments)
_KINDS: list[tuple[str, int, Callable[[Random], tuple[Any, ...]]]] = [
    ("submit", 30, lambda r: (r.choice([r.randrange(8), r.randrange(100)]), r.randrange(60), r.choice([1, 1, 1, 2]),
                              r.random() < 0.9, r.randrange(10))),
    ("submit_like", 8, lambda r: (r.randrange(20), r.randrange(1000))),
    ("burst", 4, lambda r: (r.randrange(1000), r.randint(5, 40))),
    ("submit_bad", 1, lambda r: (r.randrange(8),)),
    ("submit_again", 6, lambda r: (r.randrange(1000),)),
    ("control", 8, lambda r: (r.choice(_ACTIONS), r.randrange(1000))),
    ("control_early", 2, lambda r: (r.choice(["revoke", "retry"]), r.randrange(8), r.randrange(60))),
    ("run", 30, lambda r: (r.choice([3, 20, 100, 500, 2000, 10_000, 20_000]),)),
    ("crash_owner", 8, lambda r: (r.randrange(3), r.choice([0, 1, 2, 3, 5, 8, 13, 30]))),
    ("pause_owner", 4, lambda r: (r.randrange(3), r.choice([3000, 30_000, 60_000, 90_000]), r.choice([0, 1, 1, 2]))),
    ("crash_at", 4, lambda r: (r.randrange(3), r.choice(_PLACES), r.random() < 0.5)),
    ("pause_at", 4, lambda r: (r.randrange(3), r.choice(_PLACES), r.choice([30_000, 60_000]), r.random() < 0.7)),
    ("crash_finding", 2, lambda r: ()),
    ("crash_forgetting", 2, lambda r: (r.random() < 0.5,)),
    ("crash_deleting", 2, lambda r: (r.randint(1, 8),)),
    ("lose_power", 1, lambda r: (r.randrange(3),)),
    ("lose_disk", 2, lambda r: (r.randrange(3),)),
    ("keep_snapshot", 2, lambda r: (r.randrange(3),)),
    ("lose_record", 1, lambda r: (r.randrange(3),)),
    ("rebalance", 4, lambda r: ()),
    ("crash_gate", 3, lambda r: (r.randrange(2),)),
    ("pause_gate", 3, lambda r: (r.randrange(2), r.choice([3000, 15_000, 40_000]))),
    ("crash_worker", 3, lambda r: (r.randrange(3), r.choice([0, 5000, 120_000]))),
    ("pause_worker", 3, lambda r: (r.randrange(3), r.choice([3000, 70_000, 150_000]))),
    ("cut_off", 3, lambda r: (r.randrange(3), r.choice([3000, 70_000, 150_000]))),
    ("drain", 1, lambda r: (r.randrange(3), r.random() < 0.3)),
    ("elect", 3, lambda r: (r.choice([0, 2000, 12_000]),)),
    ("crash_scheduler", 2, lambda r: (r.randrange(2),)),
    ("pause_scheduler", 2, lambda r: (r.randrange(2), r.choice([3000, 20_000, 90_000, 150_000]))),
    ("broker_down", 2, lambda r: (r.choice([500, 8000, 70_000, 200_000]),)),
    ("sit_out", 1, lambda r: (r.randrange(1000), r.choice([70_000, 200_000]))),
    ("owners_down", 2, lambda r: (r.choice([8000, 70_000, 200_000]),)),
    ("gates_down", 2, lambda r: (r.choice([8000, 70_000, 200_000]),)),
    ("skew", 1, lambda r: (r.choice([-2000, -200, 0, 500, 3000]),)),
    ("late_claim", 2, lambda r: (r.choice([0, 0, 3, 400]),)),
    ("compact_runs", 1, lambda r: ()),
    ("recover", 2, lambda r: (r.randrange(3),)),
]  # fmt: skip
KINDS = {name: make for name, _, make in _KINDS}


_CALM = ("submit", "submit_like", "run", "control", "submit_again", "burst", "recover", "keep_snapshot")
#: What a world's troubles are mostly of, by turns: few kinds at a time go deeper than all at once.
THEMES = (
    ("pause_worker", "cut_off", "crash_worker", "drain"),
    ("crash_owner", "pause_owner", "rebalance", "lose_disk", "lose_power", "crash_at", "pause_at"),
    ("crash_gate", "pause_gate", "control_early", "submit_bad"),
    ("broker_down", "owners_down", "gates_down", "skew", "sit_out"),
    ("elect", "crash_scheduler", "pause_scheduler", "late_claim", "crash_worker", "compact_runs", "cut_off"),
    ("pause_owner", "crash_owner", "lose_record", "pause_worker", "crash_gate", "crash_at"),
    ("pause_at", "crash_at", "crash_finding", "crash_forgetting", "crash_deleting"),
    (),
)
#: Operations with trouble among a world's operations; outages last long, and must leave time between them.
_SHARE, _OUTAGES = 0.22, 0.05


def operations(random: Random, count: int, theme: int) -> list[Operation]:
    """Make `count` operations with the troubles of a theme; the last theme's are any five, or fewer."""
    weighed = {name: weight for name, weight, _ in _KINDS if name not in _CALM}
    troubles = THEMES[theme] or tuple(random.choices(list(weighed), list(weighed.values()), k=5))
    calm = [(name, weight) for name, weight, _ in _KINDS if name in _CALM]
    part = _OUTAGES if "broker_down" in troubles else _SHARE
    share = part * sum(weight for _, weight in calm) / (1 - part) / len(troubles)
    names = [name for name, _ in calm] + list(troubles)
    weights = [float(weight) for _, weight in calm] + [share] * len(troubles)
    return [(name, KINDS[name](random)) for name in random.choices(names, weights, k=count)]
