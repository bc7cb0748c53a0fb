"""Inference over words against the obvious loops, in one run on the same numbers.

398 examples x 138,240 units (GPT-2 Large's queries, keys and values), synthetic activations with
the reference's number of words. The loops are timed on a few units and extrapolated.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE \\
        python tests/benchmarks/bench_inference.py --json inference.json

The parts of tl_negation take long at full size, so they are timed once (--repeats for more). The
bare product is what any test over all labelings has to compute at least: float32 word means times
labelings, and the largest of each labeling. "times" divides by it, Firth's fit by the probe.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import _common
import numpy as np
import pandas as pd
import torch
from bench_probe import activations
from firthmodels import FirthLogisticRegression
from scipy.stats import ttest_ind
from sklearn.linear_model import LogisticRegression

from tl_negation.inference.clusters import cluster_robust
from tl_negation.inference.heldout import held_out, selectivity
from tl_negation.inference.nulls import lexical_null
from tl_negation.inference.penalised import penalise
from tl_negation.inference.precision import word_means
from tl_negation.inference.words import exchangeable, labelings_of, word_test
from tl_negation.probing.families import adjusted
from tl_negation.probing.probe import probe

TASKS = 10
FOLDS = 5
PROBE = "the plain scan's probe"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--width", type=int, default=1280, help="units per site (Q, K, V)")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--loop-units", type=int, default=20, help="units of each loop")
    parser.add_argument("--permutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    facts = _common.machine("scipy", "scikit-learn", "firthmodels")
    _common.show_machine(facts)
    acts = _with_words(activations(args.layers, args.width, args.seed), args.seed)
    result = probe(acts, progress=False)
    chosen = np.linspace(0, result.status.numel() - 1, args.loop_units).round().astype(int)
    flat = acts.values.transpose(1, 2).flatten(0, 1)[chosen].T.double().numpy()
    loops = Loops(flat, acts.labels.numpy(), np.array(acts.contexts.words), args.permutations)
    penalise(result, units="all")  # compiled by now, as the others are
    words = word_test(result, permutations=args.permutations, progress=False)
    options: dict[str, Any] = {"progress": False}
    parts: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
        "word test, max-T and groups": (
            lambda: word_test(result, permutations=args.permutations, **options),
            loops.permutations,
        ),
        "words left out": (lambda: held_out(result, **options), loops.words_left_out),
        "selectivity": (lambda: selectivity(result, tasks=TASKS, **options), loops.selectivity),
        "Firth, all units": (lambda: penalise(result, units="all"), loops.firth),
        "corrections (Holm)": (lambda: adjusted(words, "words_p", correction="holm"), None),
        "cluster-robust errors": (lambda: cluster_robust(result), None),
        "lexical null, 20 deals": (lambda: lexical_null(result, replicates=20, **options), None),
    }
    rows = [_timed(name, ours, loop, args, result) for name, (ours, loop) in parts.items()]
    bare = BareProduct(acts, args.permutations)
    ordinary = {"part": PROBE, "s": _common.clock(lambda: probe(acts, progress=False))}
    product = {"part": "the bare product of that test", "s": _common.clock(bare)}
    rows = [ordinary, product, *rows]
    for row, of in (("word test, max-T and groups", product), ("Firth, all units", ordinary)):
        found = next(one for one in rows if one["part"] == row)
        found["times"] = found["s"] / of["s"]
    memory = _common.extra_memory(lambda: word_test(result, progress=False))
    rows[2]["memory"] = memory / acts.values.nbytes
    _show(rows, args, result)
    report = {"machine": facts, "settings": vars(args) | {"json": None}, "parts": rows}
    _common.write_json(args.json, report)


def _with_words(acts: Any, seed: int) -> Any:
    """Fifteen word types, five of negation, so that there are 3,003 labelings as in the story."""
    rng = np.random.default_rng(seed)
    examples = acts.contexts.examples.copy()
    extra = {1: ["nor"], 0: [f"word{i}" for i in range(5)]}
    for label, names in extra.items():
        rows = examples.index[examples["label"] == label]
        for name, row in zip(names, rng.choice(rows, len(names), replace=False), strict=True):
            examples.loc[row, "word"] = name
    return replace(acts, contexts=replace(acts.contexts, examples=examples))


class BareProduct:
    """Word means times labelings in float32, and the largest of each, a layer at a time."""

    def __init__(self, acts: Any, permutations: int):
        types = exchangeable(acts.contexts)
        labelings, _ = labelings_of(types, permutations, 0)
        self.labelings = labelings.float()
        means = word_means(acts.values, acts.contexts.words, tuple(types["word"])).means
        self.means = means.float().reshape(len(acts.layers), -1, len(types))

    def __call__(self) -> None:
        for layer in self.means:
            (self.labelings @ layer.T).amax(dim=1)


class Loops:
    """What a user would write: one unit after the other, with scipy and scikit-learn."""

    def __init__(self, x: np.ndarray, y: np.ndarray, words: np.ndarray, permutations: int):
        self.x, self.y, self.permutations_asked = x, y, permutations
        self.words, self.types = pd.factorize(words)
        self.by_type = np.zeros(len(self.types), dtype=int)
        self.by_type[self.words] = y
        self.rng = np.random.default_rng(0)

    def permutations(self) -> None:
        """Permute the labels of the word types, unit by unit (without max-T)."""
        relabelled = [self.rng.permutation(self.by_type) == 1 for _ in range(3003)]
        for column in self.x.T:
            means = np.bincount(self.words, column) / np.bincount(self.words)
            observed = abs(ttest_ind(means[self.by_type == 1], means[self.by_type == 0]).statistic)
            null = [_t(means[one], means[~one]) for one in relabelled]
            _ = np.mean(np.abs(null) >= observed)

    def words_left_out(self) -> None:
        """Leave one word type out, unit by unit."""
        for column in self.x.T:
            _cross_validate(column, self.y, self.words)

    def selectivity(self) -> None:
        """Five folds for the real task and for each control task, unit by unit."""
        folds = np.arange(len(self.y)) % FOLDS
        tasks = [self.y, *(self.rng.permutation(self.by_type)[self.words] for _ in range(TASKS))]
        for column in self.x.T:
            for task in tasks:
                _cross_validate(column, task, folds)

    def firth(self) -> None:
        """Fit every unit by firthmodels, with its likelihood-ratio test."""
        for column in self.x.T:
            model = FirthLogisticRegression().fit(column[:, None] / column.std(), self.y)
            model.lrt(0)


def _t(ones: np.ndarray, zeros: np.ndarray) -> float:
    n1, n0 = len(ones), len(zeros)
    pooled = (n1 * ones.var() + n0 * zeros.var()) / (n1 + n0 - 2)
    return (ones.mean() - zeros.mean()) / np.sqrt(pooled * (1 / n1 + 1 / n0))


def _cross_validate(column: np.ndarray, y: np.ndarray, groups: np.ndarray) -> None:
    for group in np.unique(groups):
        train = groups != group
        if 0 < y[train].sum() < train.sum():
            model = LogisticRegression(C=1e12).fit(column[train, None] / column.std(), y[train])
            model.predict_proba(column[~train, None] / column.std())


def _timed(name: str, ours: Any, loop: Any, args: argparse.Namespace, result: Any) -> dict:
    with _common.CONSOLE.status(name):
        seconds = [_common.clock(ours) for _ in range(args.repeats)]
        row: dict[str, Any] = {"part": name, "s": statistics.median(seconds)}
        if loop is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one = _common.clock(loop) / args.loop_units
            row["loop_s"] = one * result.status.numel()
            row["ratio"] = row["loop_s"] / row["s"]
    return row


def _show(rows: list[dict], args: argparse.Namespace, result: Any) -> None:
    table = [
        (
            row["part"],
            f"{row['s']:.1f}",
            f"{row['loop_s'] / 3600:.1f} h" if "loop_s" in row else "",
            f"{row['ratio']:,.0f}" if "ratio" in row else "",
            f"{row['times']:.1f}" if "times" in row else "",
            f"{row['memory']:.2f}" if "memory" in row else "",
        )
        for row in rows
    ]
    total = sum(row["s"] for row in rows[1:])
    _common.show_table(
        f"{len(result.contexts)} examples x {result.status.numel():,} units, all parts {total:.0f} "
        f"s; loops timed on {args.loop_units} units and extrapolated",
        ("", "seconds", "loop", "ratio", "times", "memory (activations)"),
        table,
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
