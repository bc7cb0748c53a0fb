"""Statements about heads that do not depend on the basis of their units.

``(Q A)(K A^-T)^T = Q K^T`` for any invertible A: the coordinates of queries and keys are not
identified, so "more Q units than K units" is a statement about a basis.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Seed, progress_bar, real, validated
from ..activations import Activations
from ..fitting import ridge
from ..models import Site
from .heldout import check_folds, example_weights
from .relabelings import check_relabelings, relabelings_of

#: Heads fitted together: 64 heads of 64 units on 398 examples are 13 MB in float64.
CHUNK = 64
#: Scores that differ by less are equal.
ROUNDING = 1e-9


@validated
def rotate(acts: Activations, *, seed: Seed = 0) -> Activations:
    """Rotate the units within every head by a random orthogonal matrix.

    Probing the rotated activations tells which statistics of units are properties of the head, and
    which are properties of the basis that training happened to end in.

    Parameters
    ----------
    acts
        From :func:`tl_negation.collect`.
    seed
        Of the rotations: one per layer, site and head, uniform over the orthogonal group (QR of
        a Gaussian matrix with the signs of R's diagonal taken out: Mezzadri 2007).

    Returns
    -------
    Activations
        Of the same shape. MLP sites, whose units the nonlinearity singles out, and the residual
        stream stay as they are.

    Examples
    --------
    A rotation keeps the length of a head's vector:

    >>> turned = tln.rotate(acts)
    >>> before, after = (a.site("q")[0, :, :4].norm(dim=1) for a in (acts, turned))
    >>> torch.allclose(before, after, rtol=1e-4), torch.equal(acts.site("q"), turned.site("q"))
    (True, False)
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for site in acts.sites:
        values = acts.site(site.name)
        parts.append(_rotated(values, site, generator) if site.module == "attn" else values)
    model = {**acts.model, "rotated_within_heads": {"seed": seed}}
    return replace(acts, values=torch.cat(parts, dim=2), model=model)


def _rotated(values: Tensor, site: Site, generator: torch.Generator) -> Tensor:
    shape = (values.shape[0], site.heads, site.d_head, site.d_head)
    q, r = torch.linalg.qr(
        torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
    )
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[..., None, :]
    by_head = rearrange(
        values, "layer example (head d_head) -> layer example head d_head", head=site.heads
    )
    turned = einsum(
        by_head,
        q.to(values),
        "layer example head d_head, layer head d_head new -> layer example head new",
    )
    return rearrange(turned, "layer example head new -> layer example (head new)")


@validated
def head_probe(
    acts: Activations,
    *,
    penalty: Annotated[float, real] = 1.0,
    relabelings: int = 0,
    seed: Seed = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Probe every head by all of its units together, scored on words left out.

    Parameters
    ----------
    acts
        From :func:`tl_negation.collect`, with at least one attention site.
    penalty
        Ridge: half of it times the squared weights is added to the logistic loss. The activations
        of a head are centred and divided by one number, their root mean variance in the training
        part, so that the penalty does not depend on the basis or scale of the head.
    relabelings
        How many other labelings of the words, as many in each class, every head is fitted and
        scored under, too; 0 for none. Each takes as long as the probe itself.
    seed
        Of the relabelings.
    progress
        Show a progress bar.

    Returns
    -------
    DataFrame
        A row per layer, attention site and head: ``layer, site, head, held_out_accuracy`` (mean
        over the two classes of the mean over the class's words of the share of examples that the
        fit to all other words predicts right) and ``accuracy``, the balanced accuracy in sample;
        NaN for a head with a value that is not finite, or with all units constant. With
        ``relabelings`` also ``null_held_out_low`` and ``null_held_out_high``, between which 90 % of
        the head's scores under other labelings lie, and ``held_out_p``, the share of all labelings
        that reach its score (one-sided).

    Raises
    ------
    TooFewWordsError
        (A ValueError.) A class of one word type.
    ValueError
        There is no attention site; the penalty is not positive; ``relabelings`` is negative, or
        a word has both labels, which no relabeling can keep.

    Notes
    -----
    A head that scores high holds the category in a linear combination of its units; that the
    model reads that combination is not shown. The best of many heads looks better than it is. A
    head that knows words alone is not right in one half of them but anywhere around it: compare
    with the relabelings.

    Examples
    --------
    >>> table = tln.head_probe(acts, progress=False)
    >>> list(table), len(table)  # 3 layers x 3 sites x 5 heads
    (['layer', 'site', 'head', 'held_out_accuracy', 'accuracy'], 45)
    >>> list(tln.head_probe(acts, relabelings=5, progress=False))[5:]
    ['null_held_out_low', 'null_held_out_high', 'held_out_p']
    """
    if penalty <= 0 or not math.isfinite(penalty):
        raise ValueError(f"the ridge penalty must be positive; got {penalty}")
    sites = [site for site in acts.sites if site.module == "attn"]
    if not sites:
        names = ", ".join(site.name for site in acts.sites)
        raise ValueError(f"a head probe needs an attention site (q, k, v); there are {names}")
    check_relabelings(relabelings)
    words = acts.contexts.word_codes
    check_folds(acts.labels.numpy(), words, "word")
    labelings = relabelings_of(acts.contexts, relabelings, seed)
    if relabelings and len(labelings) == 1:
        raise ValueError(
            "a relabeling gives each word one class; a word here has both: leave relabelings at 0"
        )
    frames = []
    for site in sites:
        heads = rearrange(
            acts.site(site.name),
            "layer example (head d_head) -> (layer head) example d_head",
            head=site.heads,
        )
        chunks = progress_bar(
            heads.split(CHUNK), desc=f"heads of {site.name}", disable=not progress
        )
        scores = [
            torch.stack([_scores(x.double(), labels, words, penalty) for labels in labelings])
            for x in chunks
        ]
        frames.append(_head_rows(site, acts.layers, torch.cat(scores, dim=1).cpu().numpy()))
    return pd.concat(frames, ignore_index=True).sort_values(["layer"], kind="stable")


def _scores(
    x: Float[Tensor, "head example d_head"],
    labels: Int[np.ndarray, " example"],
    words: Int[np.ndarray, " example"],
    penalty: float,
) -> Float[Tensor, "head 2"]:
    is_right = torch.empty(x.shape[:2], dtype=torch.float64, device=x.device)
    for word in np.unique(words):
        test = words == word
        is_right[:, test] = _predicted_right(x, labels, ~test, test, penalty)
    by_word, by_class = example_weights(labels, words)[0], example_weights(labels)[0]
    everything = np.ones(len(labels), dtype=bool)
    in_sample = _predicted_right(x, labels, everything, everything, penalty)
    scores = torch.stack(
        [is_right @ by_word.to(x.device), in_sample @ by_class.to(x.device)], dim=1
    )
    invalid = ~torch.isfinite(x).all(dim=(1, 2)) | (x == x[:, :1]).all(dim=(1, 2))
    return scores.masked_fill(invalid[:, None], torch.nan)


def _predicted_right(
    x: Tensor, labels: np.ndarray, train: np.ndarray, test: np.ndarray, penalty: float
) -> Float[Tensor, "head example"]:
    """Say for each example of ``test`` whether the fit to ``train`` predicts it right."""
    y = torch.from_numpy(labels).to(x)
    mean = x[:, train].mean(dim=1, keepdim=True)
    scale = (x[:, train] - mean).square().mean(dim=(1, 2), keepdim=True).sqrt()
    z = (x - mean) / scale.clamp_min(torch.finfo(x.dtype).tiny)
    weights, intercept = ridge.fit(z[:, train], y[train], penalty)
    threshold = torch.logit(y[train].mean())
    predicted = ridge.decide(z[:, test], weights, intercept) > threshold
    return (predicted == (y[test] == 1)).double()


def _head_rows(
    site: Site, layers: Sequence[int], scores: Float[np.ndarray, "labeling head 2"]
) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "layer": np.repeat(layers, site.heads),
            "site": site.name,
            "head": np.tile(np.arange(site.heads), len(layers)),
            "held_out_accuracy": scores[0, :, 0],
            "accuracy": scores[0, :, 1],
        }
    )
    if len(scores) == 1:
        return table
    found, others = scores[0, :, 0], scores[1:, :, 0]
    low, high = np.quantile(others, (0.05, 0.95), axis=0)
    p = (1 + (others >= found - ROUNDING).sum(axis=0)) / len(scores)
    p = np.where(np.isnan(found), np.nan, p)
    return table.assign(null_held_out_low=low, null_held_out_high=high, held_out_p=p)
