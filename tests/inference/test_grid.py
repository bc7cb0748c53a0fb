"""Three cells of the calibration grid: where the tests hold their level, and where they do not.

``tests/benchmarks/grid_calibration.py`` generates the data; the table of the whole grid is in the
method page. Here fewer data sets are drawn; the limits are several standard errors away from what
the table says, so that a statistic which lost its weights would be found out.
"""

import numpy as np
import pytest
from benchmarks.grid_calibration import PLANTED, WORDS, Setting, draw, judged, labelings

SETS, UNITS, LABELINGS = 24, 200, 200


def rates(words, ratio, icc, shift=0.0, *, equal=False, seed=0):
    """Mean over data sets of what the tests say, and how often the bound exceeds the true share."""
    counts = WORDS[words]
    sizes = [len(part) for part in counts]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(SETS):
        asked = labelings(sizes[0], sum(sizes), LABELINGS, rng)
        means = draw(Setting(counts, icc, 0.0, ratio), UNITS, shift, rng)
        found.append(judged(means, asked, equal=equal))
    names = ("unit", "group", "at_least")
    mean = {name: float(np.mean([one[name] for one in found])) for name in names}
    return mean | {"too large": float(np.mean([one["at_least"] > PLANTED for one in found]))}


def test_the_weighted_statistic_holds_its_level_where_the_pooled_one_does_not():
    weighted = rates("3 rare + 12 frequent", 1.0, 0.1)
    pooled = rates("3 rare + 12 frequent", 1.0, 0.1, equal=True)
    assert weighted["unit"] == pytest.approx(0.05, abs=0.03)  # the grid: .054
    assert pooled["unit"] > 0.15  # .228


def test_the_group_test_fails_where_the_words_of_the_smaller_class_vary_more():
    alike, varied = (rates("the story's 4 + 9", ratio, 0.5) for ratio in (1.0, 4.0))
    assert alike["group"] <= 0.25
    assert varied["group"] > 0.6  # .87: the result warns of it, and the page says so


def test_the_bound_seldom_exceeds_the_true_share():
    found = rates("5 + 5 alike", 1.0, 0.5, shift=3.0)
    assert found["too large"] <= 0.13
    assert found["at_least"] > 0.05  # and says something
