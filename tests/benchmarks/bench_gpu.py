"""A GPU against the CPU of the same machine, stage by stage: the values and the time.

GPT-2 Large's shape (36 layers, 1280 wide, 20 heads) with random weights, 398 contexts of 101
random tokens with the reference's words, from tokens to inference over words. Both devices probe
the same activations, those collected on the CPU, so that the columns can be compared.

    python tests/benchmarks/bench_gpu.py --json gpu.json

A first call includes what is compiled, or allocated, once.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import _common
import torch
from bench_extraction import CLASSES, SHAPES, VOCABULARY, load, save_random
from bench_inference import TASKS, _with_words
from transformers.utils import logging as transformers_logging

from tl_negation import (
    ProbeResult,
    collect,
    held_out,
    lexical_null,
    penalise,
    probe,
    selectivity,
    word_test,
)

DEVICES = ("cpu", "cuda")
QUIET: dict[str, Any] = {"progress": False}
#: After the probe: each takes its result, on whatever device that is.
INFERENCE: dict[str, Callable[[ProbeResult], Any]] = {
    "word_test": partial(word_test, **QUIET),
    "penalise": penalise,
    "held_out": partial(held_out, by="word", **QUIET),
    "selectivity": partial(selectivity, tasks=TASKS, **QUIET),
    "lexical_null": partial(lexical_null, replicates=20, **QUIET),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="gpt2-large")
    parser.add_argument("--contexts", type=int, default=398)
    parser.add_argument("--model-class", choices=CLASSES, default=CLASSES[0])
    parser.add_argument("--repeats", type=int, default=5, help="later calls on the GPU")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not torch.cuda.is_available():
        raise SystemExit("this compares a GPU with the CPU, and torch finds no GPU here")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    facts = _common.machine("transformer_lens", "transformers")
    _common.show_machine(facts)
    stages: list[dict[str, Any]] = []
    differences: dict[str, float] = {}
    acts = _extraction(args, stages, differences)
    results: dict[str, dict[str, ProbeResult]] = {device: {} for device in DEVICES}
    for device in DEVICES:
        there = replace(acts, values=acts.values.to(device))
        run = partial(probe, there, progress=False)
        stages.append(_timed("probe", device, run, args.repeats))
        plain = results[device]["probe"] = run()
        for name, stage in INFERENCE.items():
            row = _timed(name, device, partial(stage, plain), 1 if device == "cuda" else 0)
            stages.append(row)
            if isinstance(row["value"], ProbeResult):
                results[device][name] = row["value"]
    seen: set[str] = set()
    for name in results["cpu"]:
        differences |= _differences(name, results["cpu"][name], results["cuda"][name], seen)
        seen |= set(results["cpu"][name].columns)
    _show(stages, differences, args, acts)
    stages = [{k: v for k, v in row.items() if k != "value"} for row in stages]
    report = {"machine": facts, "shape": args.shape, "stages": stages, "differences": differences}
    _common.write_json(args.json, report)


def _extraction(args: argparse.Namespace, stages: list, differences: dict[str, float]) -> Any:
    """Collect on both devices; the CPU's activations, with the words of the reference."""
    contexts = _common.examples(args.contexts, VOCABULARY)
    collected = {}
    with tempfile.TemporaryDirectory(prefix="bench_gpu_") as folder:
        save_random(SHAPES[args.shape], Path(folder))
        for device in DEVICES:
            model = load(args.model_class, Path(folder), device)
            run = partial(collect, model, contexts, progress=False)
            row = _timed("extraction", device, run, args.repeats if device == "cuda" else 0)
            stages.append(row)
            collected[device] = row["value"]
            del model
    cpu, gpu = (collected[device].values.cpu() for device in DEVICES)
    differences["extraction: values, relative to their largest"] = float(
        (cpu - gpu).abs().max() / cpu.abs().max()
    )
    return _with_words(collected["cpu"], seed=0)


def _timed(stage: str, device: str, run: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Seconds of the first call, and the median of later ones."""
    kept: list[Any] = []

    def once() -> None:
        kept[:] = [run()]

    with _common.CONSOLE.status(f"{stage} on {device}"):
        first = _common.clock(once)
        later = [_common.clock(once) for _ in range(repeats)]
    row = {"stage": stage, "device": device, "first_s": first, "value": kept[0]}
    return row | ({"later": _common.spread(later)} if later else {})


def _differences(
    stage: str, cpu: ProbeResult, gpu: ProbeResult, seen: set[str]
) -> dict[str, float]:
    """Largest difference of a column of floats, relative; units that differ in other columns.

    Columns of an earlier stage, those seen, are left out.
    """
    found = {}
    for name in cpu.columns.keys() - seen:
        column, other = cpu.columns[name], gpu.columns[name].cpu()
        key = f"{stage}: {name}"
        if not column.is_floating_point():
            found[key + ", units that differ"] = float((column.cpu() != other).sum())
            continue
        a, b = column.cpu().double(), other.double()
        both = a.isfinite() & b.isfinite()
        found[key + ", missing in one"] = float((a.isfinite() != b.isfinite()).sum())
        scale = torch.maximum(a.abs(), b.abs()).clamp(min=1e-12)
        found[key] = float(((a - b).abs() / scale)[both].max()) if both.any() else 0.0
    return {key: value for key, value in found.items() if value}


def _show(stages: list, differences: dict[str, float], args: argparse.Namespace, acts: Any) -> None:
    by_stage: dict[str, dict[str, dict]] = {}
    for row in stages:
        by_stage.setdefault(row["stage"], {})[row["device"]] = row
    rows = []
    for stage, runs in by_stage.items():
        best = {d: r.get("later", {"median_s": r["first_s"]})["median_s"] for d, r in runs.items()}
        rows.append(
            (
                stage,
                *(f"{runs[d]['first_s']:.3f}" for d in DEVICES),
                *(f"{best[d]:.3f}" for d in DEVICES),
                f"{best['cpu'] / best['cuda']:.1f}",
            )
        )
    layers, n, width = acts.values.shape
    _common.show_table(
        f"{args.shape}, random weights: {n} contexts, {layers * width:,} units, on "
        f"{_common.device()} and the CPU beside it",
        ("", "first, CPU s", "first, GPU s", "later, CPU s", "later, GPU s", "CPU / GPU"),
        rows,
    )
    _common.show_table(
        "where the GPU differs from the CPU (what is not listed is equal)",
        ("", "largest"),
        [(key, f"{value:.1e}") for key, value in differences.items()],
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
