"""How often the tests over words reject what is true, over a grid of words, ICC and correlation.

    python tests/benchmarks/grid_calibration.py [--sets 150] [--units 300]

Data are generated: word effects, and the noise of the words' means, anew in each data set. Prints
a table: the share of true-null units rejected at .05, the share of data sets in which max-T over
the units finds any, the share in which the group test rejects; and, with 30 % of the units shifted
by 1.5 or 3 SDs between words, the mean lower bound and how often it exceeds the true share.
"""

import argparse
from itertools import product
from typing import NamedTuple

import numpy as np
import torch

from tl_negation.inference.every_labeling import reached, stepped_down
from tl_negation.inference.labelings import Asked
from tl_negation.inference.precision import Weighted, WordMeans, weigh
from tl_negation.inference.shares import share_table

#: Examples of each word, class 1 first.
WORDS = {
    "the story's 4 + 9": ([110, 65, 27, 3], [71, 37, 26, 12, 8, 5, 2, 2, 1]),
    "5 + 5 alike": ([40] * 5, [40] * 5),
    "3 rare + 12 frequent": ([2, 2, 1], [40] * 12),
    "smaller class rare": ([12, 6, 3, 1], [80, 60, 40, 30, 20, 10, 8, 6, 4]),
}
ALPHA, PLANTED = 0.05, 0.3


class Setting(NamedTuple):
    """What data are generated from."""

    counts: tuple[list[int], list[int]]
    icc: float
    correlation: float
    ratio: float  # variance between the words of class 1, in those of class 0


def draw(at: Setting, units: int, shift: float, rng: np.random.Generator) -> WordMeans:
    """Word means of units whose variance within words is ``1 - ICC``; some shifted in class 1."""
    sizes = np.concatenate(at.counts)
    n1, icc = len(at.counts[0]), at.icc
    sd = np.sqrt(icc * np.where(np.arange(len(sizes)) < n1, at.ratio, 1.0))
    shared = rng.normal(size=(1, len(sizes)))
    own = rng.normal(size=(units, len(sizes)))
    effects = sd * (np.sqrt(at.correlation) * shared + np.sqrt(1 - at.correlation) * own)
    noise = rng.normal(size=effects.shape) * np.sqrt((1 - icc) / sizes)
    freedom = sizes.sum() - len(sizes)
    within = (1 - icc) * rng.chisquare(freedom, units) / freedom
    means = effects + noise
    means[: round(PLANTED * units), :n1] += shift * np.sqrt(icc)
    return WordMeans(*map(torch.from_numpy, (means, sizes.astype(float), within)))


def judged(means: WordMeans, asked: Asked, *, equal: bool) -> dict[str, float]:
    """What the tests say of one data set."""
    units = weigh(means, equal=equal)
    one = np.zeros(len(means.means), np.int64)
    found = reached(units, asked, one, one, alpha=ALPHA)
    table = share_table(found.counts.numpy(), np.array([len(one)]), ALPHA).iloc[0]
    best = Weighted(*(part[found.observed.argsort(stable=True)] for part in units))
    counts = stepped_down(best, asked).counts
    n = len(asked.labelings)
    return {
        "unit": float((found.single <= ALPHA * n).double().mean()),
        "family": float(int(counts.min()) <= ALPHA * n),
        "group": float(table["p"] <= ALPHA),
        "at_least": float(table["at_least"]),
    }


def labelings(n1: int, n: int, most: int, rng: np.random.Generator) -> Asked:
    """The observed labeling, and others at random."""
    first = (np.arange(n) < n1).astype(np.int64)
    return Asked(np.stack([first, *(rng.permutation(first) for _ in range(most - 1))]), 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=150)
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--labelings", type=int, default=400)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    names = ("unit", "family", "group")
    print(
        "| words | variance ratio | ICC | correlation | statistic | unit | max-T | group |", end=""
    )
    print(" bound (d = 1.5) | too large | bound (d = 3) | too large |")
    print("|" + "---|" * 12)
    grid = product(WORDS.items(), (1.0, 4.0), (1.0, 0.5, 0.1), (0.0, 0.5))
    for (words, counts), ratio, icc, correlation in grid:
        at = Setting(counts, icc, correlation, ratio)
        sizes = [len(part) for part in counts]
        for statistic in ("pooled", "weighted"):
            row = []
            for shift in (0.0, 1.5, 3.0):
                sets = []
                for _ in range(options.sets):
                    asked = labelings(sizes[0], sum(sizes), options.labelings, rng)
                    means = draw(at, options.units, shift, rng)
                    sets.append(judged(means, asked, equal=statistic == "pooled"))
                if shift == 0:
                    row += [f"{np.mean([one[name] for one in sets]):.3f}" for name in names]
                else:
                    bound = np.array([one["at_least"] for one in sets])
                    row += [f"{bound.mean():.2f}", f"{np.mean(bound > PLANTED):.3f}"]
            cells = (words, f"{ratio:g}", f"{icc:g}", f"{correlation:g}", statistic, *row)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
