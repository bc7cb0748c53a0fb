"""Processor time of entering the package, in times of ``import torch``.

``python tests/benchmarks/bench_import.py [repetitions]``; each in a new process, in turn, after one
round that fills the disk's cache. User and system seconds, median.
"""

import os
import statistics
import subprocess
import sys

TOUCHED = "t.scan, t.collect, t.probe, t.load_model, t.load_text"
PROGRAMS = {
    "import torch": "import torch",
    "import tl_negation": "import tl_negation",
    f"import tl_negation as t; {TOUCHED}": f"import tl_negation as t; {TOUCHED}",
    "tl-negation scna": (
        "import sys; sys.argv = ['tl-negation', 'scna']; "
        "from tl_negation.commands import main; main()"
    ),
    "tl-negation --version": (
        "import sys; sys.argv = ['tl-negation', '--version']; "
        "from tl_negation.commands import main; main()"
    ),
}


def seconds(program: str) -> float:
    """Processor seconds of a new Python that runs the program."""
    before = os.times()
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


def main(repetitions: int = 5) -> None:
    """Print the median of every program, and its ratio to ``import torch``."""
    times = {name: [] for name in PROGRAMS}
    for _ in range(repetitions + 1):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(program))
    medians = {name: statistics.median(measured[1:]) for name, measured in times.items()}
    for name, median in medians.items():
        print(f"{median:6.2f} s  {median / medians['import torch']:5.2f} x  {name}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
