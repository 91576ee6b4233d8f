"""The whole check calls only what it has: a function that is missing is noticed at its very end, after half an hour."""

import re
from pathlib import Path

SCRIPT = (Path(__file__).parents[2] / ".ci" / "run").read_text()


def test_every_step_and_what_ends_the_engines_is_there() -> None:
    defined = set(re.findall(r"^([a-z_]+)\(\) \{$", SCRIPT, re.MULTILINE))
    called = set(
        re.findall(
            r"(?:step \"[^\"]+\" |once_more |trap |; |^)([a-z0-9]+_[a-z0-9_]+)\b(?!\(\)|=)", SCRIPT, re.MULTILINE
        )
    )
    assert called >= {"stop_engines", "install_missing", "bring_others", "others_are_there", "once_more"}
    assert called <= defined
