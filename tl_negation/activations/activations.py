"""Activations at the target words: what :func:`collect` returns and :func:`probe` takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import instance, sequence
from ..corpus import Contexts
from ..models import Site, site_name
from .features import Encoder, check_encode, feature_site


@dataclass(frozen=True)
class Activations:
    """Activations at the target words, a matrix ``[example, unit]`` per layer.

    Parameters
    ----------
    values : Float[Tensor, "layer example unit"]
        float32, whatever the model's precision. On the device of the model's embedding (on the CPU
        where that device has no float64, as with MPS), or a memory map of a store. The sites are
        side by side along ``unit``; unit ``i`` of a site is head ``i // d_head``, index
        ``i % d_head``.
    sites : tuple of Site
        In the order of their columns.
    layers : tuple of int
        Number of the layer for each row of ``values``.
    contexts : Contexts
        What was run, aligned with ``example``.
    model : mapping
        What produced them: :func:`tl_negation.describe_model` and the names of the hooks.

    Raises
    ------
    TypeError
        A field of another type.
    ValueError
        The shape of ``values`` does not fit layers, contexts and sites.

    Notes
    -----
    Your own activations can be probed too: fill in the fields yourself.

    Examples
    --------
    >>> acts
    Activations(3 layers x 203 examples x 140 units (q 20, k 20, v 20, mlp_pre 80), ...)
    >>> acts.site("k").shape
    torch.Size([3, 203, 20])
    """

    values: Float[Tensor, "layer example unit"]
    sites: tuple[Site, ...]
    layers: tuple[int, ...]
    contexts: Contexts
    model: Mapping[str, Any]

    def __post_init__(self) -> None:
        instance(Tensor)("values", self.values)
        instance(Contexts)("contexts", self.contexts)
        sequence("layers", self.layers)
        sequence("sites", self.sites)
        for site in self.sites:
            instance(Site)("sites", site)
        expected = (len(self.layers), len(self.contexts), sum(site.width for site in self.sites))
        if tuple(self.values.shape) != expected:
            raise ValueError(
                f"values must be [layer, example, unit] = {expected} to fit layers, contexts and "
                f"sites; got {tuple(self.values.shape)}"
            )

    @property
    def labels(self) -> Int[Tensor, " example"]:
        """Label per example: 1 for the contrast's first list, 0 for its second."""
        return self.contexts.labels

    def site(self, name: str) -> Float[Tensor, "layer example unit"]:
        """Activations of one site, as a view of ``values``.

        Parameters
        ----------
        name : str
            Of the site, or of its hook within a block.

        Raises
        ------
        KeyError
            The site was not collected.
        """
        start = 0
        for site in self.sites:
            if site.name == site_name(name):
                return self.values[..., start : start + site.width]
            start += site.width
        collected = ", ".join(site.name for site in self.sites)
        raise KeyError(f"site {name!r} was not collected; there are {collected}")

    def map(
        self,
        site: str,
        encode: Any,  # check_encode says more than its type
        *,
        name: str,
    ) -> "Activations":
        """Add what an encoder makes of a site: features of a sparse autoencoder, for instance.

        Parameters
        ----------
        site : str
            What is encoded.
        encode : callable
            Takes ``[example, unit]`` in float32 and returns ``[example, feature]``; a dict of
            layer numbers gives every layer its own.
        name : str
            Of the features: letters, digits and ``_``.

        Returns
        -------
        Activations
            With the features as one more site, behind the others. They are all in memory, a layer
            is ``examples x features x 4`` bytes; ``collect(..., features=..., store=...)`` keeps
            them on disk, and the views need ``features=`` again to show them.

        Raises
        ------
        KeyError
            The site was not collected.
        TypeError
            The encoder cannot be called.
        ValueError
            The name of a site; an encoder that gives another shape or lacks a layer.

        Examples
        --------
        >>> doubled = acts.map("q", lambda x: torch.cat([x, -x], dim=1).relu(), name="signs")
        >>> doubled
        Activations(3 layers x 203 examples x 180 units (q 20, k 20, v 20, ..., signs 40), ...)
        """
        check_encode(name, encode)
        values = self.site(site)
        source = next(known for known in self.sites if known.name == site_name(site))
        encoder = Encoder(source, encode)
        made = feature_site(name, encoder, self.layers, values.device)
        if any(known.name == name for known in self.sites):
            raise ValueError(f"each site once; there is {name!r} already")
        shape = (*self.values.shape[:2], self.values.shape[2] + made.width)
        joined = torch.empty(shape, dtype=torch.float32, device=values.device)
        joined[..., : self.values.shape[2]] = self.values
        with torch.no_grad():
            for row, (layer, act) in enumerate(zip(self.layers, values, strict=True)):
                joined[row, :, self.values.shape[2] :] = encoder(name, layer, act)
        features = {**self.model.get("features", {}), name: source.name}
        hooks = [*self.model.get("hooks", []), made.hook]
        return replace(
            self,
            values=joined,
            sites=(*self.sites, made),
            model={**self.model, "features": features, "hooks": hooks},
        )

    def __repr__(self) -> str:
        widths = ", ".join(f"{site.name} {site.width}" for site in self.sites)
        return (
            f"Activations({_count(len(self.layers), 'layer')} x "
            f"{_count(len(self.contexts), 'example')} x "
            f"{_count(self.values.shape[-1], 'unit')} ({widths}), "
            f"{self.model.get('name', 'unnamed model')})"
        )

    def _repr_html_(self) -> str:
        table = pd.DataFrame([_site_row(site) for site in self.sites])
        kind = str(self.values.dtype).removeprefix("torch.")
        size = self.values.numel() * self.values.element_size() / 1e6
        return (
            f"<p>{escape(self.model.get('name', 'unnamed model'))}: at the target of "
            f"{len(self.contexts):,} contexts, in {_span(self.layers)}; "
            f"{size:,.{0 if size > 9 else 2}f} MB of {kind}</p>"
            f"{table.to_html(index=False)}"
        )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _site_row(site: Site) -> dict[str, Any]:
    return {
        "site": site.name,
        "units a layer": f"{site.width:,}",
        "heads": f"{site.heads} of {site.d_head}" if site.module == "attn" else "",
        "hook": site.hook,
    }


def _span(layers: Sequence[int]) -> str:
    """Write ``30 layers, 0 to 29``; a few layers are listed instead."""
    named = ", ".join(map(str, layers)) if len(layers) < 9 else f"{layers[0]} to {layers[-1]}"
    return f"{len(layers)} layers, {named}" if len(layers) > 1 else f"layer {layers[0]}"
