"""What both benchmarks share: clocks, peak memory, contexts, tables, and where they ran."""

import ctypes
import gc
import json
import multiprocessing
import os
import platform
import re
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from tl_negation.corpus.contexts import Contexts
from tl_negation.corpus.contrast import NEGATION

CONSOLE = Console(width=110)

#: The reference's examples: The Variable Man, GPT-2's tokenizer, 90 tokens before and 10 after.
NEGATIONS, AFFIRMATIONS = 216, 182
BEFORE, AFTER = 90, 10
#: Words and how often each is drawn: a few make up most of a class, as in a text.
WORDS = {
    "negation": {"not": 0.45, "n't": 0.42, "never": 0.08, "cannot": 0.04, "nor": 0.01},
    "affirmation": {"could": 0.5, "can": 0.2, "may": 0.1, "might": 0.1, "should": 0.1},
}
PAUSE = 0.003  # seconds between two looks at the memory
PINNED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def examples(n: int, vocabulary: int, seed: int = 0) -> Contexts:
    """Windows of random tokens; labels in the reference's proportions, in random order."""
    rng = np.random.default_rng(seed)
    ones = round(n * NEGATIONS / (NEGATIONS + AFFIRMATIONS))
    labels = rng.permutation(np.arange(n) < ones).astype(int)
    groups = [("affirmation", "negation")[label] for label in labels]
    words = [rng.choice(list(WORDS[group]), p=list(WORDS[group].values())) for group in groups]
    window = BEFORE + 1 + AFTER
    position = BEFORE + window * np.arange(n)
    frame = pd.DataFrame({"label": labels, "group": groups, "word": words})
    frame = frame.assign(surface=frame["word"], token=" " + frame["word"], position=position)
    frame = frame.assign(start=4 * position, end=4 * position + 3, passage="", in_boilerplate=False)
    tokens = torch.from_numpy(rng.integers(0, vocabulary, (n, window)))
    source = {"source": "random tokens", "seed": seed, "contrast": NEGATION.to_dict()}
    return Contexts(tokens, frame, BEFORE, NEGATION, source)


def interleave(
    contenders: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of every repetition, in the order A B C, A B C, ..., after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(repeats + 1):
        with CONSOLE.status(f"round {round_} of {repeats} (0 warms up)"):
            for name, run in contenders.items():
                elapsed = clock(run)
                if round_:
                    seconds[name].append(elapsed)
    return seconds


def clock(run: Callable[[], object]) -> float:
    """Seconds that a call takes, a GPU's queue included."""
    gc.collect()
    _synchronise()
    start = time.perf_counter()
    run()
    _synchronise()
    return time.perf_counter() - start


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Median and range of the repetitions."""
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repetitions_s": list(seconds),
    }


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a module's function in a new interpreter, so that memory starts from nothing."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def extra_memory(run: Callable[[], object]) -> int:
    """Bytes by which a call's peak resident memory exceeds what was resident before it (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory must not count as resident before
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts again from now
    before = resident("VmRSS")
    result = run()
    peak = resident("VmHWM")
    del result
    return peak - before


def watched(run: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call, and the most memory of its own that the process held beyond before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before, most, over = resident("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not over.wait(PAUSE):
            most[0] = max(most[0], resident("RssAnon") - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    try:
        seconds = clock(run)
    finally:
        busy = time.process_time() - began
        over.set()
        watcher.join()
    return {"seconds": seconds, "cpu_seconds": busy, "anonymous_bytes": most[0]}


def resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", status)[1])


def machine(*packages: str) -> dict[str, Any]:
    """What the numbers depend on: cores, threads, versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "cpu": re.search(r"model name\s*: (.*)", cpuinfo)[1].strip(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": device(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("tl_negation", "torch", "numpy", *packages)},
        **{name: os.environ[name] for name in PINNED_KERNELS if name in os.environ},
    }


def device() -> str:
    """Where a model goes when nothing is said."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"  # run from a checkout


def show_machine(facts: Mapping[str, Any]) -> None:
    """Print where the numbers were measured, and what spoils them."""
    CONSOLE.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    pinned = [name for name in PINNED_KERNELS if name in facts]
    if pinned:
        unset = " ".join(f"-u {name}" for name in pinned)
        CONSOLE.print(
            f"note: {' and '.join(pinned)} set: numpy's peers may run an older kernel than this "
            f"processor has; run again as `env {unset} python ...`",
            style="yellow",
        )


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table; the first column names, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(str, row))
    CONSOLE.print(table)


def write_json(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write everything that was measured, if a path was given."""
    if path is not None:
        path.write_text(json.dumps(report, indent=2) + "\n")
        CONSOLE.print(f"written: {path}")
