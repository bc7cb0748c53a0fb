"""A TransformerLens model and the places in it: how it is loaded, its sites, where a unit is.

TransformerLens and transformers are imported when a model is loaded, not before.
"""

from .check import check_model
from .devices import token_device, values_device
from .loading import (
    demo_file,
    describe_model,
    load_model,
    load_tokenizer,
    untrained_twin,
    usable_device,
)
from .protocol import TransformerLensModel
from .sites import (
    LEXICAL_AT_FIRST,
    MEANINGS,
    WITH_HEADS,
    Site,
    select_sites,
    sites_of,
)
from .sizes import ModelSizes, sizes_of
from .units import (
    UNIT,
    SiteSlice,
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

__all__ = [
    "LEXICAL_AT_FIRST",
    "MEANINGS",
    "UNIT",
    "WITH_HEADS",
    "ModelSizes",
    "Site",
    "SiteSlice",
    "TransformerLensModel",
    "check_model",
    "check_units",
    "demo_file",
    "describe_model",
    "layer_width",
    "load_model",
    "load_tokenizer",
    "locate",
    "places",
    "select_sites",
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
