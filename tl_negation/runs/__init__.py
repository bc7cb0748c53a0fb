"""All stages in one call, the directory that a run ends in, and what a run would cost."""

from . import machine
from .comparison import compare
from .directory import add_to_run, summary, with_activations, write_run
from .machine import HARDWARE, UTILISATION
from .plan import plan
from .scan import scan

__all__ = [
    "HARDWARE",
    "UTILISATION",
    "compare",
    "machine",
    "plan",
    "scan",
    "summary",
    "with_activations",
    "add_to_run",
    "write_run",
]
