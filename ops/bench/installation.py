"""An installation of a benchmark's own, and what it tells while it works."""

import time
from pathlib import Path

from ops.cluster.steps import Step, StepState
from pipeline.settings import Settings


def settings_of(home: Path, slots: int) -> Settings:
    """Return the settings of an installation in `home` on free ports, whose workers have so many slots."""
    given = Settings()
    ports = dict.fromkeys(("kafka_port", "controller_port", "elasticsearch_port", "transport_port"), 0)
    return given.model_copy(
        update={
            "home": home.resolve(),
            "embedded": given.embedded.model_copy(update=ports),
            "worker": given.worker.model_copy(update={"slots": slots}),
        }
    )


def tell(step: Step) -> None:
    """Print how a step of the installation ended."""
    if step.state is not StepState.BEGUN:
        say(f"{step.name}: {step.state} {step.detail} ({step.seconds:.1f} s)")


def say(text: str) -> None:
    """Print a line, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
