"""Job types for tests: a whole one, and ways to vary it."""

from typing import Any

from pipeline.jobtypes.job_type import JobType


def spec(*params: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A job-spec with these (name, destination)."""
    return {
        "command": "/app/run.sh",
        "params": [{"name": name, "destination": destination} for name, destination in params],
        "disk_usage": "1GB",
        "soft_time_limit": 600,
        "time_limit": 900,
        **more,
    }


def typed(*params: dict[str, Any], destination: str = "positional", **more: Any) -> JobType:
    """A job type of these hysds-io params, all for one destination; `more` goes into the job-spec."""
    return JobType.of(document(*params, destination=destination, **more))


def document(*params: dict[str, Any], destination: str = "positional", **more: Any) -> dict[str, Any]:
    """The document of `typed`."""
    of_spec = spec(*((one["name"], one.get("destination", destination)) for one in params), **more)
    of_io = [
        {"from": "submitter", **{key: value for key, value in one.items() if key != "destination"}} for one in params
    ]
    return {"name": "x", "version": "v1", "job_spec": of_spec, "hysds_io": {"params": of_io}}
