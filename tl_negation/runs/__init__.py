"""All stages in one call, the directory that a run ends in, and what a run would cost.

``scan`` runs one contrast and ``compare`` several; ``directory`` writes what they found and adds
to it later; ``plan`` predicts bytes and hours, for which ``machine`` measures this computer.
"""

from .comparison import compare
from .directory import (
    add_to_run,
    read_profile,
    summary,
    with_activations,
    write_replication,
    write_run,
)
from .machine import HARDWARE
from .plan import DTYPES, plan
from .scan import scan

__all__ = [
    "DTYPES",
    "HARDWARE",
    "add_to_run",
    "compare",
    "plan",
    "read_profile",
    "scan",
    "summary",
    "with_activations",
    "write_replication",
    "write_run",
]
