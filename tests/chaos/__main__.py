"""Kills a whole installation again and again, and judges what is left: see decision 023.

Each crash point by SIGKILL and by SIGTERM, then any process at any time, until there were enough kills. Ends with
figures and a table; exit code 1 where anything is wrong. The data, with all logs, is kept then, and with --keep.

examples:
  python -m tests.chaos                                        every crash point by both signals
  python -m tests.chaos --kills 200 --seconds 3600 --seed 7    and random ones until there were 200
  python -m tests.chaos --only gate.submit --actions kill      the points of one agent alone
  make chaos CHAOS="--kills 200 --seconds 3600 --seed 7 --write docs/reliability.md"
"""

import argparse
import datetime
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from pipeline.crash_points import ACTIONS
from tests.chaos import report
from tests.chaos.run import Asked, chaos

#: Below it each run has a folder of its own.
HOME = Path(".cache/chaos")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _options(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    asked = Asked(seed, options.kills, options.seconds, options.pace, tuple(options.actions), only=options.only)
    home = options.home / f"{seed}-{os.getpid()}"
    home.mkdir(parents=True)
    begun = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f}  {line}", flush=True)

    tell(f"seed {seed}, data and logs in {home}")
    os.nice(options.nice)
    # told to stop, it takes its servers with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = chaos(home, asked, tell)
    for line in result.record.by_themselves:
        print(f"ended by itself: {line}")
    print(report.table(result))
    for line in report.figures(result):
        print(line)
    for line in result.wrong:
        print(f"WRONG: {line}")
    if options.write is not None:
        report.write(result, options.write, datetime.datetime.now(datetime.UTC).date().isoformat())
    if result.wrong or options.keep:
        print(f"kept: {home}; again: python -m tests.chaos --seed {seed}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return 1 if result.wrong else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0, help="go on at random until there were so many (0)")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no random kill later than this (3600)")
    parser.add_argument("--seed", type=int, help="what decides who dies when; printed where none is given")
    parser.add_argument("--pace", type=float, default=0.4, help="seconds between two submissions (0.4)")
    parser.add_argument("--only", default="", help="only crash points whose name has this in it")
    parser.add_argument("--actions", nargs="+", choices=sorted(ACTIONS), default=list(ACTIONS), help="by default both")
    parser.add_argument("--home", type=Path, default=HOME, help=f"where data and logs go ({HOME})")
    parser.add_argument("--nice", type=int, default=0, help="by how much others on the machine go first (0)")
    parser.add_argument("--keep", action="store_true", help="keep data and logs where all is well too")
    parser.add_argument("--write", type=Path, help="put figures and table into this file, between the marks")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
