"""A container's parameters as the command line of an engine's own client."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from docker.types import Mount as Bind


def run_line(
    program: Sequence[str], made: Mapping[str, Any], image: str, argv: Sequence[str], withheld: Collection[str]
) -> list[str]:
    """Return a `run` of the container, to be removed when it ends; `made` are parameters of Docker's SDK.

    The variables `withheld` are named without a value: the client passes its own on, if it has them.
    """
    line = [*program, "run", "--rm", "--init", "--read-only", "--cap-drop", "ALL"]
    line += ["--security-opt", "no-new-privileges:true", "--network", made["network_mode"], "--user", made["user"]]
    line += ["--memory", made["mem_limit"], "--memory-swap", made["memswap_limit"]]
    line += ["--cpus", f"{made['nano_cpus'] / 1e9:g}", "--pids-limit", str(made["pids_limit"])]
    line += ["--shm-size", made["shm_size"]]
    for limit in made["ulimits"]:
        line += ["--ulimit", f"{limit.name}={limit.soft}:{limit.hard}"]
    for request in made["device_requests"]:
        line += ["--gpus", "all" if request.count == -1 else str(request.count)]
    for path, how in made["tmpfs"].items():
        line += ["--tmpfs", f"{path}:{how}"]
    for bind in made["mounts"]:
        line += ["--mount", _bind_option(bind)]
    for name, value in made["environment"].items():
        line += ["--env", name if name in withheld else f"{name}={value}"]
    return [*line, "--workdir", made["working_dir"], image, *argv]


def _bind_option(bind: Bind) -> str:
    fields = ["type=bind", f"source={bind['Source']}", f"target={bind['Target']}"]
    fields += ["readonly"] if bind["ReadOnly"] else []
    return ",".join(f'"{field}"' if "," in field else field for field in fields)
