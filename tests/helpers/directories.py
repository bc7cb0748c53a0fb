"""What is in a directory, and whether the result that was read from it is the one saved."""

import numpy as np


def listing(folder):
    """Names of all files and folders in a directory."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_same(loaded, saved):
    """Columns to the last bit, sites and layers."""
    assert set(loaded.columns) == set(saved.columns)
    for name, column in saved.columns.items():
        got, want = loaded.columns[name].numpy(), column.numpy()
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        known = ~np.isnan(want)
        np.testing.assert_array_equal(np.isnan(got), ~known, err_msg=name)
        assert got[known].tobytes() == want[known].tobytes(), name
    assert (loaded.sites, loaded.layers) == (saved.sites, saved.layers)
