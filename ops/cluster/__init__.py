"""One installation on this machine: servers and agents as detached processes, found again by their home.

Lives here: the installation itself (`installation`), its servers, its agent processes, when they are ready, what is
remembered of it in HOME/cluster.toml, what starts again what ended (`keeper`), and how a start is told step by step.
May import: `ops.embedded`, `agents` and `pipeline`. The command line, the demo, the benchmark and the acceptance tests
are built on it.
"""

from ops.cluster.agent_process import AgentProcess
from ops.cluster.file import ClusterFile, Plan
from ops.cluster.installation import Cluster, ClusterError
from ops.cluster.keeper import Keeper
from ops.cluster.process_status import ProcessStatus
from ops.cluster.steps import Step, StepState, Tell

__all__ = [
    "AgentProcess",
    "Cluster",
    "ClusterError",
    "ClusterFile",
    "Keeper",
    "Plan",
    "ProcessStatus",
    "Step",
    "StepState",
    "Tell",
]
