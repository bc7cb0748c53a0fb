"""What every stage uses: checks of arguments, files written whole, presets, processes, tokens.

Nothing here knows contrasts, models or probes, except that error messages name them. Importing
this room imports neither torch nor pandas, so that a command line can check its arguments at once.
"""

from .checks import (
    Check,
    Count,
    Seed,
    TokenCount,
    count,
    instance,
    integer,
    nearest,
    optional,
    real,
    sequence,
    string,
    table,
    validated,
)
from .files import MARKER, check_target, one_writer, too_large, whole_directory, whole_file
from .listing import lists
from .presets import PRESETS, Preset
from .processes import current, launched, use_processes
from .tokens import (
    Tokenised,
    decode_tokens,
    decoder,
    encodes_bos,
    prepends_bos,
    remember_bos,
    tokenise,
)

__all__ = [
    "MARKER",
    "PRESETS",
    "Check",
    "Count",
    "Preset",
    "Seed",
    "TokenCount",
    "Tokenised",
    "check_target",
    "count",
    "current",
    "decode_tokens",
    "decoder",
    "encodes_bos",
    "instance",
    "integer",
    "launched",
    "lists",
    "nearest",
    "one_writer",
    "optional",
    "prepends_bos",
    "real",
    "remember_bos",
    "sequence",
    "string",
    "table",
    "tokenise",
    "too_large",
    "use_processes",
    "validated",
    "whole_directory",
    "whole_file",
]
