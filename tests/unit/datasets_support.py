"""Products, markers and stores for the tests of `pipeline.datasets`."""

from pathlib import Path
from typing import Any

import orjson

from pipeline.datasets.marker import Marker
from pipeline.datasets.rules import Rules, parse


def make_product(parent: Path, name: str, content: str = "data", **dataset: Any) -> Path:
    """A product directory with one data file and a met.json."""
    directory = parent / name
    directory.mkdir(parents=True)
    (directory / f"{name}.dataset.json").write_bytes(orjson.dumps({"version": "v1.0", **dataset}))
    (directory / f"{name}.met.json").write_bytes(orjson.dumps({"day": "2024-03-01", "cloud": {"cover": 7}}))
    (directory / "data.txt").write_text(content)
    return directory


def marker(job_id: str = "job-a", attempt: int = 1, holder: str = "worker-1") -> Marker:
    return Marker(job_id=job_id, attempt=attempt, holder=holder, payload_hash="0" * 32, time="2024-03-01T00:00:00Z")


def simple_rules(location: str = "tiles/{version}/{id}", **publish: Any) -> Rules:
    rule = {
        "ipath": "demo::data/TILE",
        "match_pattern": r"/(?P<id>TILE-(?P<row>\d+))$",
        "level": "L2",
        "type": "tile",
        "publish": {"location": location, "urls": ["{location}"], **publish},
    }
    return parse({"datasets": [rule]})


def visible(root: Path) -> dict[str, str]:
    """What a reader of the store sees: location of each product -> content of its data file."""
    return {
        str(path.parent.relative_to(root)): (path.parent / "data.txt").read_text()
        for path in sorted(root.rglob(".jobstream.json"))
        if ".staging" not in path.relative_to(root).parts
    }


def staged(root: Path) -> list[str]:
    """Staging directories of attempts that are still there."""
    jobs = [job for job in (root / ".staging").iterdir() if not job.name.startswith(".")]
    return sorted(f"{job.name}/{attempt.name}" for job in jobs for attempt in job.iterdir())
