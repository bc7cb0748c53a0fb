"""What a reader meets first: what holds over words, of groups and of units, then by example."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from helpers import synthetic

from tl_negation.inference.words import word_test
from tl_negation.probing.claims import over_words_figures

COLUMNS = (
    "layer",
    "site",
    "units",
    "share",
    "share_expected",
    "share_high",
    "p_maxt",
    "at_least_all",
)
ROWS = [
    (2, "q", 20, 0.40, 0.05, 0.12, 0.01, 0.25),
    (2, "k", 8, 0.05, 0.05, 0.20, 0.90, 0.0),
    (5, "q", 20, 0.30, 0.05, 0.12, 0.05, 0.10),
    (5, "k", 8, 0.04, 0.05, 0.20, 1.00, 0.0),
]
GROUPS = pd.DataFrame(ROWS, columns=COLUMNS)


@pytest.fixture(scope="module")
def plain():
    return synthetic.result(*synthetic.small())


@pytest.fixture(scope="module")
def tested(plain):
    return word_test(plain, permutations=50, progress=False)


def with_words(result, passed):
    column = torch.zeros_like(result.significant_words)
    column.view(-1)[:passed] = True
    return result.with_columns({**result.columns, "significant_words": column})


def test_groups_come_first_then_units_then_the_count_by_example(tested):
    found = with_words(tested, 3).with_table("groups", GROUPS)
    _, over_words, by_example, _ = repr(found).splitlines()
    assert over_words == (
        "  over words: 2 of 4 layer-site groups pass (max-T over the groups, alpha 0.05); "
        "3 of 105 units significant (max-T over all units)"
    )
    assert by_example.startswith("  by example (likelihood-ratio test, ")
    lines = found.summary().splitlines()
    least = (20 * 0.25 + 20 * 0.10) / 56
    assert lines[0] == (
        "Over words, 2 of 4 layer-site groups pass (max-T over the groups, alpha 0.05); the "
        f"category is decodable over words from at least {least:.1%} of all units and at least "
        "25.0% of those of layer 2, site q."
    )
    assert lines[1].startswith("Over words (50 labelings at random, max-T over all units")
    assert lines[-1].startswith(
        f"Take away: the category is decodable over words from at least {least:.1%} of the units."
    )
    assert [number for number, _ in over_words_figures(found)] == ["2 of 4", f"{least:.1%}", "3"]


def test_groups_of_which_nothing_can_be_stated(tested):
    table = GROUPS.assign(p_maxt=0.4, at_least_all=0.0)
    found = with_words(tested, 0).with_table("groups", table)
    first, *_, last = found.summary().splitlines()
    assert first == (
        "Over words, 0 of 4 layer-site groups pass (max-T over the groups, alpha 0.05); no share "
        "of units above 0 can be stated with confidence."
    )
    assert "no single unit can be said to know the category" in last


def test_groups_by_something_else_are_called_so(tested):
    heads = GROUPS.assign(head=1)
    assert "2 of 4 layer-site-head groups pass" in repr(tested.with_table("groups", heads))
    everything = GROUPS.drop(columns=["layer", "site"]).head(1)
    text = tested.with_table("groups", everything).summary()
    assert "1 of 1 groups pass" in text
    assert "at least 25.0% of those of the group." in text


def test_another_table_of_that_name_is_no_test_of_groups(plain):
    other = plain.with_table("groups", pd.DataFrame({"mine": [1]}))
    assert repr(other) == repr(plain)
    assert other.summary() == plain.summary()


def test_nothing_tested_over_words_is_said_with_the_reason(plain):
    assert over_words_figures(plain) == [("not tested", "whether anything holds over words")]
    few = plain.with_columns(plain.columns, words_left_out="2 words are too few.")
    assert few.summary().splitlines()[0] == (
        "Over words: not tested: 2 words are too few. What follows may be no more than the word."
    )


def test_the_level_is_that_of_the_test_over_words(tested):
    about = {**tested.provenance["word_test"], "alpha": 0.005}
    strict = replace(
        tested.with_table("groups", GROUPS), provenance={**tested.provenance, "word_test": about}
    )
    assert "0 of 4 layer-site groups pass (max-T over the groups, alpha 0.005)" in repr(strict)


def test_no_unit_passes_by_example(plain):
    columns = {**plain.columns, "significant": torch.zeros_like(plain.significant)}
    text = plain.with_columns(columns).summary()
    assert "0 of 105 tested units are significant (0.00%).\n" in text
    assert "nan" not in text
