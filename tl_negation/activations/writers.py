"""What is kept of the activations that a forward pass comes by: one position, or a few units."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..models import Site, numbered
from .features import Encoder
from .forward import Part, Writer


def target_writers(
    values: Float[Tensor, "layer example unit"],
    sites: Sequence[Site],
    layers: Sequence[int],
    encoders: Mapping[str, Encoder],
) -> dict[str, Writer]:
    """Per hook, a function that copies the one position to its columns of ``values``."""
    widths = [site.width for site in sites]
    writers: dict[str, list[Writer]] = {}
    for row, layer in zip(values, layers, strict=True):
        for site, columns in zip(sites, row.split(widths, dim=-1), strict=True):
            write = _target_writer(columns, site, layer, encoders.get(site.name))
            writers.setdefault(site.hook_name(layer), []).append(write)
    return {hook: _each(several) for hook, several in writers.items()}


def _each(writers: Sequence[Writer]) -> Writer:
    """Let several write what one hook gives: a site and the features made of it."""

    def write(act: Tensor, part: Part) -> None:
        for writer in writers:
            writer(act, part)

    return writers[0] if len(writers) == 1 else write


def _target_writer(
    columns: Float[Tensor, "example unit"], site: Site, layer: int, encoder: Encoder | None
) -> Writer:
    source = site if encoder is None else encoder.source

    def write(act: Tensor, part: Part) -> None:
        only = rearrange(_by_head(act, source), "example 1 head d_head -> example (head d_head)")
        kept = only if encoder is None else encoder(site.name, layer, only)
        columns[part.rows] = kept.to(columns.device, columns.dtype)

    return write


def window_writers(
    values: Float[Tensor, "unit example pos"],
    sites: Sequence[Site],
    units: pd.DataFrame,
    encoders: Mapping[str, Encoder],
) -> dict[str, Writer]:
    """Per hook, a function that copies its units at all positions to their rows of ``values``."""
    named = {site.name: site for site in sites}
    writers: dict[str, list[Writer]] = {}
    rows = numbered(units).reset_index(drop=True)
    for (layer, name), group in rows.groupby(["layer", "site"], sort=True, observed=True):
        site = named[name]
        for column, size in (("head", site.heads), ("index", site.d_head)):
            if not group[column].between(0, size - 1).all():
                raise IndexError(
                    f"{column} of site {name!r} must be between 0 and {size - 1}, got "
                    f"{group[column].tolist()}"
                )
        write = _window_writer(values, site, int(layer), group, encoders.get(site.name))
        writers.setdefault(site.hook_name(int(layer)), []).append(write)
    return {hook: _each(several) for hook, several in writers.items()}


def _window_writer(
    values: Float[Tensor, "unit example pos"],
    site: Site,
    layer: int,
    group: pd.DataFrame,
    encoder: Encoder | None,
) -> Writer:
    # On the CPU, from where they index a tensor of any device: a model can lie on several.
    rows, heads, indices = (
        torch.tensor(column.tolist(), device="cpu")
        for column in (group.index, group["head"], group["index"])
    )

    def chosen(act: Tensor) -> Float[Tensor, "example pos unit"]:
        if encoder is None:
            return _by_head(act, site)[:, :, heads, indices]
        windows = rearrange(
            _by_head(act, encoder.source), "example pos head d_head -> example pos (head d_head)"
        )
        # A window at a time: there may be many more features than units.
        return torch.stack([encoder(site.name, layer, window)[:, indices] for window in windows])

    def write(act: Tensor, part: Part) -> None:
        kept = chosen(act).to(values.device, values.dtype)
        by_unit = rearrange(kept, "example pos unit -> unit example pos")
        for row, unit in zip(rows.tolist(), by_unit, strict=True):
            values[row][part.rows, part.columns] = unit

    return write


def _by_head(act: Tensor, site: Site) -> Float[Tensor, "example pos head d_head"]:
    if site.heads == 1 and act.ndim == 3:
        act = rearrange(act, "example pos d_head -> example pos 1 d_head")
    if act.ndim != 4 or tuple(act.shape[2:]) != (site.heads, site.d_head):
        raise RuntimeError(
            f"a hook of site {site.name!r} gave {tuple(act.shape)}, but by the model's "
            f"configuration it is [example, pos, {site.heads} heads, {site.d_head} per head]"
        )
    return act
