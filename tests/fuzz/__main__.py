"""Spoils records until the time is over: `python -m tests.fuzz --seconds 600 --seed 0`.

Exit code 1 where an input broke something: it is then in a file that `--input` takes.

Examples:
  python -m tests.fuzz --seconds 60
  python -m tests.fuzz --input .cache/fuzz/found-0 --kind submission
"""

import argparse
import faulthandler
import sys
import tempfile
from pathlib import Path

from pipeline.codec import Codec
from tests.fuzz.run import Report, bound_memory, run
from tests.fuzz.schema import Fuzzed
from tests.fuzz.target import Target

#: Seconds between two lines of progress.
_TELL = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _options(arguments)
    faulthandler.enable()
    bound_memory()
    if options.input is not None:
        return _repeat(options.input, options.kind, options.seed)
    last = 0.0

    def tell(done: int, passed: float) -> None:
        nonlocal last
        if passed - last > _TELL:
            last = passed
            print(f"{passed:.0f} s: {done} inputs", flush=True)

    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    report = run(options.seed, options.seconds, options.inputs, tell)
    _print(report)
    if report.found is None:
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"found-{options.seed}"
    path.write_bytes(report.found.value)
    print(
        f"{report.found.error}\n"
        f"repeat: python -m tests.fuzz --seed {options.seed} --kind {report.found.kind} --input {path}"
    )
    return 1


def _print(report: Report) -> None:
    became = ", ".join(f"{name} {number}" for name, number in sorted(report.came.items()))
    rate = report.inputs / max(report.seconds, 0.001)
    print(f"{report.inputs} inputs in {report.seconds:.0f} s ({rate:.0f}/s): {became}")
    print(f"slowest {report.slowest * 1000:.0f} ms, memory grown by {report.grown_mib} MiB")


def _repeat(path: Path, kind: str, seed: int) -> int:
    with tempfile.TemporaryDirectory() as home:
        target = Target(Codec(Fuzzed(seed)), Path(home))
        try:
            target.take(kind, path.read_bytes())
        finally:
            target.close()
    print(dict(target.came))
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="how many inputs at most")
    parser.add_argument("--seed", type=int, default=0, help="what everything follows from (default: 0)")
    parser.add_argument("--folder", type=Path, default=Path(".cache/fuzz"), help="where a bad input is kept")
    parser.add_argument("--input", type=Path, help="take this one input instead")
    parser.add_argument("--kind", choices=("submission", "report", "control"), default="submission", help="of --input")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
