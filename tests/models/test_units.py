"""Layer, site, head and index of a unit, and the column they lie in: one way and back."""

import numpy as np
import pandas as pd
import pytest
import torch
from einops import rearrange

from tl_negation.models.sites import Site
from tl_negation.models.units import (
    UNIT,
    check_units,
    layer_width,
    locate,
    places,
    site_slices,
    table_of,
    unit_index,
    unit_name,
    unit_of,
)

#: 5 heads of 4, 2 heads of 4, one row of 7 units; layers are rows 0, 1 and 2 of the tensors.
SITES = (
    Site("q", "blocks.{layer}.attn.hook_q", "attn", 5, 4),
    Site("k", "blocks.{layer}.attn.hook_k", "attn", 2, 4),
    Site("mlp_pre", "blocks.{layer}.mlp.hook_pre", "mlp", 1, 7),
)
LAYERS, WIDTH = (2, 5, 8), 35


def grid_of(site):
    """The columns of a site as the layout of activations makes them: ``[head, index]``."""
    grid = torch.arange(site.width).reshape(1, site.heads, site.d_head)
    flat = rearrange(grid, "example head d_head -> example (head d_head)")[0]
    return grid[0], flat.tolist()


def units(*rows):
    return pd.DataFrame(rows, columns=UNIT)


# ------------------------------------------------------------------ names


def test_only_units_of_attention_are_named_by_head():
    assert unit_name("rot_k", 2, 7) == "rot_k, head 2, unit 7"
    assert unit_name("mlp_pre", 0, 7) == "mlp_pre, unit 7"
    assert unit_name("attn_out", 0, 7) == "attn_out, unit 7"
    assert unit_name("of_another_version", 0, 7) == "of_another_version, unit 7"


# ------------------------------------------------------------------ a column


def test_locate_inverts_the_rearrangement():
    unit = 0
    for site in SITES:
        grid, flat = grid_of(site)
        for column in flat:
            found, head, index = locate(SITES, unit)
            assert found is site
            assert int(grid[head, index]) == column
            unit += 1
    assert unit == layer_width(SITES) == WIDTH


@pytest.mark.parametrize("unit", [-1, WIDTH])
def test_locate_refuses_a_column_that_is_not_there(unit):
    with pytest.raises(IndexError, match=f"unit must be between 0 and 34, got {unit}"):
        locate(SITES, unit)


def test_the_index_of_a_site_lists_its_units_in_the_order_of_its_columns():
    for site in SITES:
        grid, flat = grid_of(site)
        rows = unit_index(site)
        assert (rows["site"] == site.name).all()
        assert rows["head"].isna().all() == (site.module != "attn")
        heads = rows["head"].fillna(0)
        assert [int(grid[h, i]) for h, i in zip(heads, rows["index"], strict=True)] == flat


# ------------------------------------------------------------------ layer, site, head, index


def test_unit_of_is_the_inverse_of_the_table_of_all_units():
    everything = table_of(np.arange(len(LAYERS) * WIDTH), SITES, LAYERS)
    assert everything.columns.tolist() == UNIT
    for position, unit in everything.iterrows():
        row, column = unit_of(SITES, LAYERS, unit)
        assert row * WIDTH + column == position
        site, head, index = locate(SITES, column)
        said = head if site.module == "attn" else None
        found = None if pd.isna(unit["head"]) else unit["head"]
        assert (LAYERS[row], site.name, said, index) == (
            unit.layer,
            unit.site,
            found,
            unit["index"],
        )


@pytest.mark.parametrize(
    "unit",
    [
        (8, "mlp_pre", 0, 6),
        {"layer": 8, "site": "mlp_pre", "head": 0, "index": 6, "z": 3.5},
        pd.Series({"layer": 8, "site": "mlp_pre", "head": 0, "index": 6}),
        (8.0, "mlp_pre", 0.0, np.float64(6)),
        units((8, "mlp_pre", 0, 6)),
    ],
    ids=lambda unit: type(unit).__name__,
)
def test_a_unit_is_named_in_several_ways(unit):
    assert unit_of(SITES, LAYERS, unit) == (2, 20 + 8 + 6)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ((5, "v", 0, 0), r"sites q, k, mlp_pre of the layers \[2, 5, 8\]; got 'v' in layer 5"),
        ((3, "q", 0, 0), "got 'q' in layer 3"),
        ((5, "k", 2, 0), "site k has 2 heads of 4 units; got head 2, index 0"),
        ((5, "q", 0, 4), "site q has 5 heads of 4 units; got head 0, index 4"),
        ((5, "q", -1, 0), "got head -1, index 0"),
        ((5, "q", 0), "a unit is named by layer, site, head, index; got "),
        ("5.q.0.1", "a unit is named by layer, site, head, index; got '5.q.0.1'"),
        ({"layer": 5, "site": "q", "head": 0}, "named by layer, site, head, index; got no index"),
        ((5, "q", 0, 1.5), "index of a unit must be a whole number; got 1.5"),
        ((float("nan"), "q", 0, 1), "layer of a unit must be a whole number; got nan"),
        ((float("inf"), "q", 0, 1), "layer of a unit must be a whole number; got inf"),
        ((5, "q", "0", 1), "head of a unit must be a whole number; got '0'"),
        ((5, "q", None, 1), "head of a unit must be a whole number; got None"),
        (units((5, "q", 0, 0), (5, "q", 0, 1)), "exactly one unit .* got a table of 2 rows"),
        (units(), "exactly one unit .* got a table of 0 rows"),
    ],
)
def test_no_such_unit(unit, message):
    with pytest.raises(ValueError, match=message):
        unit_of(SITES, LAYERS, unit)


# ------------------------------------------------------------------ tables of units


def test_places_and_table_of_are_each_others_inverse():
    positions = np.random.default_rng(0).permutation(len(LAYERS) * WIDTH)
    found = places(table_of(positions, SITES, LAYERS), SITES, LAYERS)
    np.testing.assert_array_equal(found, positions)


def test_a_head_is_the_places_of_all_its_units():
    heads = units((5, "k", 1, 0), (8, "mlp_pre", 0, 0)).drop(columns="index")
    expected = [*range(WIDTH + 24, WIDTH + 28), *range(2 * WIDTH + 28, 3 * WIDTH)]
    assert places(heads, SITES, LAYERS).tolist() == expected


def test_places_refuse_what_the_activations_do_not_have():
    with pytest.raises(ValueError, match="got 'q' in layer 3"):
        places(units((5, "q", 0, 0), (3, "q", 0, 0)), SITES, LAYERS)


def test_check_units_keeps_the_columns_that_name_units():
    table = units((5, "q", 0, 1), (5, "q", 1, 0)).assign(z=1.5)
    assert check_units(table).columns.tolist() == UNIT
    assert check_units(table.drop(columns="index")).columns.tolist() == UNIT[:3]


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([(5, "q", 0, 1)], TypeError, "units are a DataFrame with the columns layer, .*got list"),
        (units((5, "q", 0.5, 1)), TypeError, "numbered by integers; column head is float64"),
        (units((5, "q", 0, 1)).drop(columns="head"), ValueError, "the table lacks head"),
        (units(), ValueError, "at least one unit is needed; got a table without rows"),
        (units((5, "q", 0, 1), (5, "q", 0, 1)), ValueError, r"5\.q\.0\.1 is named more than once"),
        (
            units((5, "q", 0, 1), (5, "q", 0, 2)).drop(columns="index"),
            ValueError,
            r"each unit or head once; 5\.q\.0 is named",
        ),
    ],
)
def test_tables_that_name_no_units(table, error, message):
    with pytest.raises(error, match=message):
        check_units(table)


def test_slices_hold_the_units_that_are_found_there():
    sites = [
        Site("q", "", "attn", 6, 8),
        Site("k", "", "attn", 3, 8),
        Site("mlp_pre", "", "mlp", 1, 5),
    ]
    slices = list(site_slices(sites, (2, 7)))
    assert [(place.row, place.layer, place.site) for place in slices] == [
        (row, layer, site) for row, layer in enumerate((2, 7)) for site in sites
    ]
    ends = [0, *(place.positions.stop for place in slices)]
    assert [place.positions.start for place in slices] == ends[:-1]  # end to end
    assert ends[-1] == 2 * (48 + 24 + 5)
    for row, layer, site, columns, positions in slices:
        assert columns.stop - columns.start == positions.stop - positions.start == site.width
        assert unit_of(sites, (2, 7), (layer, site.name, 0, 0)) == (row, columns.start)
        assert positions.start == row * 77 + columns.start
