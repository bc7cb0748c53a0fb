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


def tuned(result, at_least):
    """The result, with another bound of the share of all units."""
    about = dict(result.provenance["word_test"])
    about["all_units"] = {**about["all_units"], "at_least": at_least}
    return replace(result, provenance={**result.provenance, "word_test": about})


def test_groups_come_first_then_units_then_the_count_by_example(tested):
    found = tuned(with_words(tested, 3).with_table("groups", GROUPS), 0.15)
    _, over_words, by_example, _ = repr(found).splitlines()
    assert over_words == (
        "  over words: 2 of 4 layer-site groups pass (max-T over the groups, alpha 0.05); "
        "3 of 105 units significant (max-T over all units)"
    )
    assert by_example.startswith("  by example (likelihood-ratio test, ")
    lines = found.summary().splitlines()
    assert lines[0] == (
        "Over words, 2 of 4 layer-site groups pass (max-T over the groups, alpha 0.05); the "
        "category is decodable over words from at least 15.0% of all units, and from at least "
        "25.0% of those of layer 2, site q."
    )
    assert lines[1].startswith("Over words (50 labelings at random, max-T over all units")
    assert lines[-1].startswith(
        "Take away: the category is decodable over words from at least 15.0% of the units."
    )
    assert [number for number, _ in over_words_figures(found)] == ["15.0%", "2 of 4", "3"]


def test_groups_of_which_nothing_can_be_stated(tested):
    table = GROUPS.assign(p_maxt=0.4, at_least_all=0.0)
    found = tuned(with_words(tested, 0).with_table("groups", table), 0.0)
    first, *_, last = found.summary().splitlines()
    assert first == (
        "Over words, 0 of 4 layer-site groups pass (max-T over the groups, alpha 0.05); no share "
        "of units above 0 can be stated with confidence."
    )
    assert "no single unit can be said to know the category" in last


def test_the_power_of_the_test_is_said_beside_its_count(tested):
    about = {
        **tested.provenance["word_test"],
        "icc": 0.25, "shift_family": 8.6, "shift_alone": 2.04,
        "between_variance": {"negation": 0.3, "affirmation": 0.1}, "cautions": ["too few words"],
    }  # fmt: skip
    found = replace(tested, provenance={**tested.provenance, "word_test": about})
    lines = found.summary().splitlines()
    assert lines[2] == (
        "With these words a unit would be found in four of five cases with a shift of 8.6 SDs "
        "between words over all of them or a shift of 2.0 SDs between words by itself; of the "
        "variance of the median unit 25% lies between the words of a class (ICC; mean over units: "
        "negation 0.30, affirmation 0.10)."
    )
    assert lines[3] == "Too few words."
    none = {**about, "shift_family": None, "shift_alone": None, "cautions": []}
    lines = replace(found, provenance={**found.provenance, "word_test": none}).summary().split("\n")
    assert lines[2].startswith("Of the variance of the median unit 25% lies")
    assert lines[3].startswith("Based on")


def test_one_group_can_be_bounded_where_no_layer_can(tested):
    found = tuned(tested.with_table("groups", GROUPS.assign(at_least_all=0.0)), 0.07)
    assert found.summary().splitlines()[0].endswith("from at least 7.0% of all units.")


def test_bounds_that_hold_at_once_add_up_where_all_units_were_not_one_group(plain):
    least = (20 * 0.25 + 20 * 0.10) / 56
    assert f"at least {least:.1%} of all units" in plain.with_table("groups", GROUPS).summary()


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
