"""What a scan would show if units knew words and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from .._shared import Seed, table, validated
from ..activations import Activations
from ..models import Site
from ..probing import ProbeResult, adjust, family_ids, needs_activations, probe
from .heldout import held_out
from .words import word_test

#: What is summarised of each replicate, as a mean over tested units.
MEANS = ("accuracy", "balanced_accuracy", "held_out_accuracy")
#: Activations that are copied at a time, unless a single layer has more.
COPIED_BYTES = 2**30


@validated
def lexical_null(
    result: ProbeResult,
    *,
    replicates: int = 20,
    held_out_words: bool = False,
    seed: Seed = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Scan activations from which the category was taken and only the words were left.

    In each replicate the word types' mean activations are dealt to the word types at random (the
    same swap_word_means for all units and layers). The spread within every word, the correlation between
    units, the labels and the word counts stay as they are; that a unit knows *negation* is then
    excluded, that it knows *words* is not.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    replicates
        Number of deals.
    held_out_words
        Score words left out, too (slow: a refit per word).
    seed
        Of the deals.
    progress
        Show a progress bar.

    Returns
    -------
    DataFrame
        A row per replicate, layer and site: ``replicate, layer, site, share_significant`` (by the
        test that ``result`` was probed with, over tested units), ``accuracy``,
        ``balanced_accuracy`` and, if asked for, ``held_out_accuracy``: means over tested units.

    Raises
    ------
    ValueError
        ``replicates`` below 1.
    """
    if replicates < 1:
        raise ValueError(f"the lexical null needs at least one replicate; got {replicates}")
    acts = needs_activations(result, "lexical_null")
    words, types = acts.contexts.word_codes, acts.contexts.word_types
    rng = np.random.default_rng(seed)
    test = result.provenance["test"]
    frames = []
    for replicate in tqdm(range(replicates), desc="lexical null", disable=not progress):
        dealt = rng.permutation(len(types))
        null = _probed(
            acts, partial(swap_word_means, words=words, dealt=dealt), test, held_out_words
        )
        frames.append(_means(null).assign(replicate=replicate))
    table = pd.concat(frames, ignore_index=True)
    return table[["replicate", *(name for name in table if name != "replicate")]]


def _probed(
    acts: Activations,
    change: Callable[[Tensor], Tensor],
    test: Mapping[str, Any],
    held_out_words: bool,
) -> ProbeResult:
    """Probe changed activations, some layers at a time: a copy of all may not fit into memory."""
    step = max(1, COPIED_BYTES // acts.values[0].nbytes)
    parts = []
    for start in range(0, len(acts.layers), step):
        rows = slice(start, start + step)
        some = replace(acts, values=change(acts.values[rows]), layers=acts.layers[rows])
        part = probe(some, progress=False, **test)
        part = held_out(part, progress=False) if held_out_words else part
        parts.append(replace(part, activations=None))
    columns = {name: torch.cat([part.columns[name] for part in parts]) for name in parts[0].columns}
    # A family may reach over layers.
    ids = family_ids(acts.sites, len(acts.layers), test["family"])
    adjusted = adjust(columns["p"].cpu().numpy(), ids, test["correction"])
    columns["significant"] = torch.from_numpy(adjusted <= test["alpha"]).to(columns["p"].device)
    return replace(parts[0], columns=columns, layers=acts.layers)


@validated
def null_p_values(
    result: ProbeResult,
    *,
    deals: int = 40,
    units: int = 500,
    permutations: int = 10_000,
    seed: Seed = 0,
) -> pd.DataFrame:
    """Test units that know words and nothing else, to see how often each test says otherwise.

    Each swap_word_means is one of :func:`lexical_null`, on units drawn at random from all layers and sites.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    deals
        How often the words' means are dealt anew.
    units
        Units of each swap_word_means, or all if there are fewer.
    permutations
        Of :func:`word_test`.
    seed
        Of units, deals and labelings.

    Returns
    -------
    DataFrame
        A row per swap_word_means and unit: ``by example (Wald)`` and ``over words (permutation)``, p values
        of one unit by itself, uncorrected; NaN where there is none. For
        :func:`tl_negation.plots.calibration`.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) As :func:`word_test`.
    ValueError
        ``deals`` or ``units`` below 1.

    Notes
    -----
    Units share the swap_word_means and are correlated: the share of rejections varies more than that of as
    many independent tests.
    """
    if min(deals, units) < 1:
        raise ValueError(
            f"at least one swap_word_means of one unit is needed; got {deals} of {units}"
        )
    acts = needs_activations(result, "null_p_values")
    words, types = acts.contexts.word_codes, acts.contexts.word_types
    rng = np.random.default_rng(seed)
    n_layers, _, n_units = acts.values.shape
    units = min(units, n_layers * n_units)
    tables = []
    for _ in range(deals):
        layer, unit = np.divmod(rng.choice(n_layers * n_units, units, replace=False), n_units)
        values = acts.values[torch.from_numpy(layer), :, torch.from_numpy(unit)].T[None]
        drawn = replace(
            acts, values=swap_word_means(values, words, rng.permutation(len(types))), layers=(0,),
            sites=(Site("drawn", "", "mlp", 1, units),),
        )  # fmt: skip
        found = word_test(
            probe(drawn, progress=False), permutations=permutations, seed=seed, progress=False
        )
        p = {"by example (Wald)": found.p, "over words (permutation)": found.words_p}
        tables.append(pd.DataFrame({name: one[0].cpu().numpy() for name, one in p.items()}))
    return pd.concat(tables, ignore_index=True)


@validated
def null_bands(table: Annotated[pd.DataFrame, table("layer", "site")]) -> pd.DataFrame:
    """Summarise :func:`lexical_null` over its replicates.

    Returns
    -------
    DataFrame
        A row per layer and site; per column the 5th, 50th and 95th percentile of the replicates
        (``null_accuracy_low``, ``_middle``, ``_high`` ...).
    """
    columns = [name for name in ("share_significant", *MEANS) if name in table]
    grouped = table.groupby(["layer", "site"], sort=False)[columns]
    ends = {"low": 0.05, "middle": 0.5, "high": 0.95}
    parts = [
        grouped.quantile(q).rename(columns=lambda name, end=end: f"null_{name}_{end}")
        for end, q in ends.items()
    ]
    return pd.concat(parts, axis=1).reset_index()


def swap_word_means(
    values: Float[Tensor, "layer example unit"],
    words: Int[np.ndarray, " example"],
    dealt: Int[np.ndarray, " word"],
) -> Float[Tensor, "layer example unit"]:
    """Give every word type the mean activations of the word type that it was dealt."""
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(words)).double().to(values.device)
    to_means = (one_hot / one_hot.sum(dim=0)).T
    moved = values.clone()
    for layer, out in zip(values, moved, strict=True):
        means = to_means @ layer.double()
        change = means[torch.from_numpy(dealt).to(means.device)] - means
        out.add_((one_hot @ change).to(out.dtype))
    return moved


@validated
def distinct_rows(acts: Activations) -> pd.DataFrame:
    """Count the distinct activation rows of each layer among all examples.

    At layer 0 the activations at a fixed position are a function of the token alone: as many
    distinct rows as token types. What can be decoded there is the word: the lexical baseline.

    Returns
    -------
    DataFrame
        ``layer, distinct_rows, examples``.
    """
    counts = [len(torch.unique(layer, dim=0)) for layer in acts.values.cpu()]
    return pd.DataFrame(
        {"layer": acts.layers, "distinct_rows": counts, "examples": len(acts.contexts)}
    )


def _means(result: ProbeResult) -> pd.DataFrame:
    rows = []
    for site, part in result.split().items():
        for i, layer in enumerate(part.layers):
            tested = part.tested[i]
            row = {"layer": layer, "site": site}
            row["share_significant"] = part.columns["significant"][i, tested].double().mean().item()
            for name in MEANS:
                if name in part.columns:
                    row[name] = part.columns[name][i, tested].nanmean().item()
            rows.append(row)
    return pd.DataFrame(rows).sort_values(["layer", "site"], kind="stable", ignore_index=True)
