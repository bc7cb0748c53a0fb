"""A TransformerLens model and the places in it: how it is loaded, its sites, where a unit is.

TransformerLens and transformers are imported when a model is loaded, not before.
"""

from .changes import is_stock
from .check import check_model
from .demo import demo_file
from .describe import describe_model
from .devices import has_float64, token_device, usable_device, values_device
from .hooks import select_sites
from .identity import identity_of, module_identity
from .loading import load_model, load_tokenizer, untrained_twin
from .passes import alone_with, run_windows
from .protocol import TransformerLensModel, blocks_of
from .sites import (
    SITES,
    Site,
    SiteRecord,
    check_site_names,
    has_heads,
    is_hook,
    is_site,
    site_label,
    site_name,
    sites_of,
)
from .sizes import ModelSizes, sizes_of
from .units import (
    UNIT,
    SiteSlice,
    check_places,
    check_units,
    every_place,
    head_number,
    layer_width,
    locate,
    numbered,
    places,
    site_slices,
    table_of,
    unit_index,
    unit_name,
    unit_of,
)

__all__ = [
    "SITES",
    "UNIT",
    "ModelSizes",
    "Site",
    "SiteRecord",
    "SiteSlice",
    "TransformerLensModel",
    "alone_with",
    "blocks_of",
    "check_model",
    "check_places",
    "check_site_names",
    "check_units",
    "demo_file",
    "describe_model",
    "every_place",
    "has_float64",
    "has_heads",
    "head_number",
    "identity_of",
    "is_hook",
    "is_site",
    "is_stock",
    "layer_width",
    "load_model",
    "load_tokenizer",
    "locate",
    "module_identity",
    "numbered",
    "places",
    "run_windows",
    "select_sites",
    "site_label",
    "site_name",
    "site_slices",
    "sites_of",
    "sizes_of",
    "table_of",
    "token_device",
    "unit_index",
    "unit_name",
    "unit_of",
    "untrained_twin",
    "usable_device",
    "values_device",
]
