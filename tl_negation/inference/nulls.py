"""What a scan would show if units knew words and nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Seed, table, validated
from ..activations import Activations
from ..corpus import Contexts, class_one_first
from ..fitting import Scratch, compute, logistic
from ..models import Site
from ..probing import ProbeResult, example_test, needs_activations, probe, significant
from .generated import without_category
from .heldout import words_left_out
from .words import exchangeable, labelings_of, word_test

#: What is summarised of each replicate, as a mean over tested units.
MEANS = ("accuracy", "balanced_accuracy", "held_out_accuracy")
#: What the shuffles need of a fit; the area under the ROC curve and the errors they do not.
FITTED = ("status", "accuracy", "balanced_accuracy")


@validated
def lexical_null(
    result: ProbeResult,
    *,
    replicates: int = 20,
    held_out_words: bool = False,
    seed: Seed = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Probe activations that hold the words, but not the category.

    In each replicate the words' mean activations are shuffled among the words (the same shuffle
    for all units and layers). The spread within every word, the correlation between units, the
    labels and the word counts stay as they are. Units can then still know *words*, but not
    *negation*.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    replicates
        Number of shuffles.
    held_out_words
        Score words left out, too (slow: a refit per word).
    seed
        Of the shuffles.
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
    TypeError
        Arguments of another type, named.
    ValueError
        ``replicates`` is below 1; the result was read from disk.

    Examples
    --------
    >>> null = tln.lexical_null(result, replicates=2, progress=False)
    >>> list(null)  # doctest: +NORMALIZE_WHITESPACE
    ['replicate', 'layer', 'site', 'share_significant', 'accuracy', 'balanced_accuracy']
    >>> len(null)  # 2 replicates x 3 layers x 4 sites
    24
    """
    if replicates < 1:
        raise ValueError(f"the lexical null needs at least one replicate; got {replicates}")
    acts = needs_activations(result, "lexical_null")
    rng = np.random.default_rng(seed)
    sources = [rng.permutation(len(acts.contexts.word_types)) for _ in range(replicates)]
    shuffles = _fits(acts, sources, held_out_words, progress)
    test = result.provenance["test"]
    frames = [
        _means(_judged(result, columns, test)).assign(replicate=replicate)
        for replicate, columns in enumerate(shuffles)
    ]
    table = pd.concat(frames, ignore_index=True)
    return table[["replicate", *(name for name in table if name != "replicate")]]


def _fits(
    acts: Activations,
    sources: Sequence[Int[np.ndarray, " word"]],
    held_out_words: bool,
    progress: bool,
) -> list[dict[str, Tensor]]:
    """Fit every unit under each shuffle: block by block, so that no activations are copied."""
    contexts = acts.contexts
    n1 = int(contexts.labels.sum())
    order = class_one_first(contexts.labels.to(acts.values.device, torch.int8))
    unseen = words_left_out(contexts)
    shuffles = [_of(source, contexts, acts.values.device) for source in sources]

    def work(x: Tensor, scratch: Scratch) -> dict[tuple[int, str], Tensor]:
        columns: dict[tuple[int, str], Tensor] = {}
        means = _word_means(x, contexts.word_codes)
        for i, (source, words) in enumerate(shuffles):
            moved = x + (means[source] - means).to(x.dtype)[words]
            in_order = torch.index_select(moved, 0, order, out=scratch.like("sorted", x))
            fit = logistic.fit(in_order, n1, scratch)
            found = {name: getattr(fit, name) for name in FITTED} | _p_values(fit)
            if held_out_words:
                found["held_out_accuracy"] = unseen(moved, scratch)
            columns |= {(i, name): column for name, column in found.items()}
        return columns

    columns = compute(acts.values, work, desc="lexical null", progress=progress)
    return [
        {name: column for (i, name), column in columns.items() if i == shuffle}
        for shuffle in range(len(sources))
    ]


def _of(source: np.ndarray, contexts: Contexts, device: torch.device) -> tuple[Tensor, Tensor]:
    """The words that means come from, and the word of each example, on the device."""
    return torch.from_numpy(source).to(device), torch.from_numpy(contexts.word_codes).to(device)


def _p_values(fit: logistic.Fit) -> dict[str, Tensor]:
    """p of Wald's test and of the likelihood ratio's."""
    z = (fit.beta / fit.se).abs()
    lr = fit.lr.clamp_min(0)
    return {
        "p": torch.erfc(z / math.sqrt(2)),
        "lr_p": torch.erfc(torch.sqrt(lr / 2)),
    }


def _judged(
    result: ProbeResult, columns: dict[str, Tensor], test: Mapping[str, Any]
) -> ProbeResult:
    """Say which units pass the test; a family may reach over layers."""
    columns["significant"] = significant(columns, result.sites, len(result.layers), **test)
    return replace(result, columns=columns, activations=None, display=None, tables={})


@validated
def null_p_values(
    result: ProbeResult,
    *,
    deals: int = 40,
    units: int = 500,
    permutations: int = 10_000,
    statistic: str = "weighted",
    seed: Seed = 0,
) -> pd.DataFrame:
    """Test units that know words and nothing else, to see how often each test says otherwise.

    The units are drawn anew from what real units are like: of units chosen at random from all
    layers and sites, the variance between the words of a class and within a word, and the
    correlation among them. Word effects are normal, residuals those of the word's own examples;
    word counts and labels stay as they are. There is no difference between the classes, so that
    whatever a test finds is false.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    deals
        How many times units are drawn.
    units
        Units of each draw; all units if there are fewer.
    permutations
        As in :func:`word_test`.
    statistic
        As in :func:`word_test`.
    seed
        Of units, words' effects, residuals and labelings.

    Returns
    -------
    DataFrame
        A row per draw and unit: ``by example (...)``, by the test that ``result`` was probed with,
        and ``over words (permutation)``: p values of each unit by itself, uncorrected; NaN for a
        unit without one. For :func:`tl_negation.plots.calibration`.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) As :func:`word_test`.
    ValueError
        ``deals`` or ``units`` is below 1; the result was read from disk.

    Notes
    -----
    The units of one draw are correlated: the share of rejections varies more than that of as many
    independent tests. Both classes get the same variance between words; where theirs differ, no
    test over few words holds its level (see the method page). A shuffle of the words' own means
    would show nothing: its p over words is that of another labeling of the same data.

    Examples
    --------
    >>> p = tln.null_p_values(result, deals=2, units=10, permutations=100)
    >>> list(p), len(p)
    (['by example (likelihood-ratio test)', 'over words (permutation)'], 20)
    """
    if min(deals, units) < 1:
        raise ValueError(
            f"at least one shuffle (deals) of one unit is needed; got {deals} of {units}"
        )
    acts = needs_activations(result, "null_p_values")
    words, labels = acts.contexts.word_codes, acts.contexts.labels.numpy()
    labelings_of(exchangeable(acts.contexts), permutations, seed)  # refuses too few words
    test = example_test(result.provenance["test"])
    rng = np.random.default_rng(seed)
    n_layers, _, n_units = acts.values.shape
    units = min(units, n_layers * n_units)
    tables = []
    for _ in range(deals):
        layer, unit = np.divmod(rng.choice(n_layers * n_units, units, replace=False), n_units)
        values = acts.values[torch.from_numpy(layer), :, torch.from_numpy(unit)].T
        made = without_category(values, words, labels, rng)[None]
        site = Site("drawn", "", "mlp", 1, units)  # from several sites, probed as if they were one
        drawn = replace(acts, values=made, layers=(0,), sites=(site,))
        options = {"permutations": permutations, "statistic": statistic, "seed": seed}
        found = word_test(probe(drawn, progress=False), progress=False, **options)
        p = {
            f"by example ({test.name} test)": found.columns[test.p],
            "over words (permutation)": found.words_p,
        }
        tables.append(pd.DataFrame({name: row[0].cpu().numpy() for name, row in p.items()}))
    return pd.concat(tables, ignore_index=True)


@validated
def null_bands(table: Annotated[pd.DataFrame, table("layer", "site")]) -> pd.DataFrame:
    """Summarise :func:`lexical_null` over its replicates.

    Parameters
    ----------
    table
        From :func:`lexical_null`.

    Returns
    -------
    DataFrame
        A row per layer and site; of each column the 5th, 50th and 95th percentile of the
        replicates (``null_accuracy_low``, ``_middle``, ``_high`` ...).

    Raises
    ------
    TypeError
        Not a table.
    ValueError
        The table is empty or lacks the layer or the site.

    Examples
    --------
    >>> bands = tln.null_bands(tln.lexical_null(result, replicates=2, progress=False))
    >>> [name for name in bands if name.startswith("null_accuracy")]
    ['null_accuracy_low', 'null_accuracy_middle', 'null_accuracy_high']
    """
    columns = [name for name in ("share_significant", *MEANS) if name in table]
    grouped = table.groupby(["layer", "site"], sort=False)[columns]
    ends = {"low": 0.05, "middle": 0.5, "high": 0.95}
    parts = [
        grouped.quantile(q).rename(columns=lambda name, end=end: f"null_{name}_{end}")
        for end, q in ends.items()
    ]
    return pd.concat(parts, axis=1).reset_index()


def _word_means(
    x: Float[Tensor, "example unit"], words: Int[np.ndarray, " example"]
) -> Float[Tensor, "word unit"]:
    """Average each unit over the examples of each word, in float64."""
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(words)).double().to(x.device)
    return (one_hot / one_hot.sum(dim=0)).T @ x.double()


@validated
def distinct_rows(acts: Activations) -> pd.DataFrame:
    """Count the distinct activation rows of each layer among all examples.

    In layer 0 the activations at a fixed position depend on nothing but the token: there are as
    many distinct rows as token types. What can be decoded there is the word: the lexical baseline.

    Parameters
    ----------
    acts
        From :func:`tl_negation.collect`.

    Returns
    -------
    DataFrame
        ``layer, distinct_rows, examples``.

    Examples
    --------
    The MLP reads what attention has mixed in, so that every row differs already in layer 0:

    >>> tln.distinct_rows(acts)
       layer  distinct_rows  examples
    0      0            203       203
    1      1            203       203
    2      2            203       203
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
