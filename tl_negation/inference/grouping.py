"""Which units have a layer, a site, a head or a module in common."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from ..models import table_of
from ..probing import ProbeResult

#: What units may be grouped by.
KEYS = ("layer", "site", "head", "module")


def groups_of(
    result: ProbeResult, by: Sequence[str], tested: Bool[np.ndarray, " unit"]
) -> tuple[Int[np.ndarray, " tested"], pd.DataFrame]:
    """Number the group of each tested unit, and list the groups in the order of the units.

    Parameters
    ----------
    result
        Any result.
    by
        Keys of :data:`KEYS`.
    tested
        Which units are asked for.
    """
    where = table_of(np.arange(result.status.numel()), result.sites, result.layers)
    modules = {site.name: site.module for site in result.sites}
    site = where["site"].astype(str)
    keys = where.assign(site=site, module=site.map(modules))[list(by)][tested]
    if not by:
        return np.zeros(len(keys), np.int64), pd.DataFrame(index=[0] if len(keys) else [])
    grouped = keys.groupby(list(by), sort=False, observed=True, dropna=False)
    table = keys.drop_duplicates().reset_index(drop=True)
    return grouped.ngroup().to_numpy(np.int64), table
