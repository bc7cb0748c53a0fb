"""Directions: all units of a layer's site together, scored on words left out.

What single units hold each by itself, a site may hold along a direction that no unit lies on. Two
directions are found here: that of a ridge-logistic fit, and the difference between the class means.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._shared import Seed, progress_bar, real, validated
from ..activations import Activations
from ..corpus import Contexts
from ..fitting import ridge
from .heldout import ROUNDING, check_folds, example_weights, groups_of
from .pairs import flipped_of, has_pairs
from .relabelings import check_relabelings, relabelings_of

#: Principal axes whose variance is a smaller share than this of the largest are rounding.
SMALLEST_AXIS = 1e-12
#: What can be left out of a fit, and so dealt anew or flipped.
LEFT_OUT = ("word", "pair", "item")
#: Takes ``[example, axis]``, 0 and 1 under each labeling, and the words; returns a direction and a
#: threshold for each labeling.
Fit = Callable[[Tensor, Tensor, np.ndarray], tuple[Tensor, Tensor]]


@dataclass(frozen=True, repr=False)
class Directions:
    """A direction for every layer and site, and how well the class is decodable along it.

    Attributes
    ----------
    table
        A row per layer and site: ``layer, site, units, held_out_accuracy`` (on what was left out;
        balanced over classes, and over the words of a class), ``accuracy`` (in sample, the same
        weights), ``null_held_out_low`` and ``null_held_out_high`` (5 to 95 % of the same score
        under other labelings), ``held_out_p`` (share of labelings that reach it; one-sided, the
        row by itself) and ``held_out_p_max`` (share of labelings whose best row reaches it).
        NaN where activations are not finite or do not vary.
    directions
        Site -> ``Float[Tensor, "layer unit"]``, float64 on the CPU; points to class 1.
    layers
        Number of the layer of each row.
    about
        What was done, JSON-able: ``method, by, labelings, seed, contexts, groups, model``.

    Examples
    --------
    >>> found = tln.mean_difference(acts, relabelings=19, progress=False)
    >>> found
    Directions (difference of class means), scored on 13 words left out: 0 of 12 layers and sites
    hold the class beyond other labelings of the words (p over all of them <= 0.05)
      best: q layer 0, 73... % of unseen words (other labelings: 12 to 75 %), n = 203 contexts
    >>> found.directions["mlp_pre"].shape, found.along("mlp_pre", 1).shape
    (torch.Size([3, 80]), torch.Size([80]))
    """

    table: pd.DataFrame
    directions: Mapping[str, Float[Tensor, "layer unit"]]
    layers: tuple[int, ...]
    about: Mapping[str, Any]

    def along(self, site: str, layer: int) -> Float[Tensor, " unit"]:
        """Return the direction of a site in a layer.

        Raises
        ------
        KeyError
            No direction of this site and layer was found.
        """
        if site not in self.directions or layer not in self.layers:
            raise KeyError(
                f"no direction of site {site!r} in layer {layer}; there are "
                f"{', '.join(self.directions)} in layers {', '.join(map(str, self.layers))}"
            )
        return self.directions[site][self.layers.index(layer)]

    def to_frame(self) -> pd.DataFrame:
        """The table: a row per layer and site."""
        return self.table.copy()

    def __repr__(self) -> str:
        what, table = self.about, self.table
        head = f"Directions ({what['method']}), scored on {what['left_out']} left out"
        known = table.dropna(subset="held_out_accuracy")
        if known.empty:
            return f"{head}: activations that do not vary, or are not finite, have none"
        best = known.loc[known["held_out_accuracy"].idxmax()]
        score = f"{100 * best['held_out_accuracy']:.1f} % of unseen {what['by']}s"
        where = f"  best: {best['site']} layer {best['layer']}, {score}"
        n = f"n = {what['contexts']:,} contexts"
        if "held_out_p_max" not in table:
            return f"{head}, without other labelings to compare with\n{where}, {n}"
        passed = int((known["held_out_p_max"] <= 0.05).sum())
        low, high = (100 * best[f"null_held_out_{end}"] for end in ("low", "high"))
        return (
            f"{head}: {passed} of {len(known)} layers and sites hold the class beyond other "
            f"labelings of the {what['by']}s (p over all of them <= 0.05)\n"
            f"{where} (other labelings: {low:.0f} to {high:.0f} %), {n}"
        )

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, float_format="{:.3g}".format)
        return f"<pre>{escape(repr(self))}</pre>{table}"


@validated
def layer_probe(
    acts: Activations,
    *,
    penalty: Annotated[float, real] = 1.0,
    by: str | None = None,
    relabelings: int = 40,
    seed: Seed = 0,
    progress: bool = True,
) -> Directions:
    """Probe all units of a layer's site together, scored on words left out.

    Parameters
    ----------
    acts
        From :func:`tl_negation.collect`.
    penalty
        Ridge: half of it times the squared weights is added to the logistic loss. The activations
        are centred and divided by one number, their root mean variance in the training part.
    by
        What is left out of the fits that are scored: ``"word"``, ``"pair"`` or ``"item"``; if not
        given, items or pairs where examples carry them, words otherwise.
    relabelings
        How many other labelings the fits are repeated under: of the words, as many in each class,
        or with pairs (items) flipped; 0 for none. All of them where there are no more.
    seed
        Of the relabelings.
    progress
        Show a progress bar.

    Returns
    -------
    Directions
        The weights of the fit to all examples, in log-odds of class 1 per unit of activation.

    Raises
    ------
    TooFewWordsError, TooFewPairsError
        (ValueErrors.) A class of one word; pairs that lack a class.
    ValueError
        The penalty is not positive; ``relabelings`` is negative, or no other labeling exists;
        an unknown ``by``.

    Notes
    -----
    Alain & Bengio 2017 (probes of layers); Hewitt & Liang 2019 (why a probe is compared with other
    labelings: with more units than examples a fit separates any labeling of what it has seen). The
    weights of a ridge fit suppress what correlates with other units: for a direction that means
    the class, and to steer along, :func:`mean_difference` is often better (Marks & Tegmark 2024).
    That the class is decodable along a direction does not show that the model reads it: see
    :func:`steer`.

    Examples
    --------
    >>> found = tln.layer_probe(acts, relabelings=19, progress=False)
    >>> list(found.table)[:4]
    ['layer', 'site', 'units', 'held_out_accuracy']
    >>> found.directions["q"].shape
    torch.Size([3, 20])
    """
    if penalty <= 0 or not math.isfinite(penalty):
        raise ValueError(f"the ridge penalty must be positive; got {penalty}")
    about = {"method": "ridge-logistic", "penalty": penalty}

    def method(units: int, balanced: bool) -> Fit:  # noqa: ARG001 - a fit weighs all examples alike
        return lambda x, y, _: _ridge(x, y, units, penalty)

    return _directions(acts, method, about, by, relabelings, seed, progress)


@validated
def mean_difference(
    acts: Activations,
    *,
    by: str | None = None,
    relabelings: int = 40,
    seed: Seed = 0,
    progress: bool = True,
) -> Directions:
    """Take the difference between the class means as direction, scored on words left out.

    Parameters
    ----------
    acts
        From :func:`tl_negation.collect`.
    by, relabelings, seed, progress
        As in :func:`layer_probe`.

    Returns
    -------
    Directions
        Mean of class 1 less mean of class 0, in the activations' own units; by word, every word of
        a class has the same weight in its mean. What was left out is decided by which side of the
        midpoint between the means it lies on, along the direction.

    Raises
    ------
    TooFewWordsError, TooFewPairsError
        (ValueErrors.) A class of one word; pairs that lack a class.
    ValueError
        ``relabelings`` is negative, or no other labeling exists; an unknown ``by``.

    Notes
    -----
    Also called mass-mean probe (Marks & Tegmark 2024). It has no parameters to fit, and so needs no
    penalty. That the class is decodable along it does not show that the model reads it: see
    :func:`steer`.

    Examples
    --------
    >>> found = tln.mean_difference(acts, relabelings=0, progress=False)
    >>> found.directions["k"].shape, found.about["by"]
    (torch.Size([3, 20]), 'word')
    """
    about = {"method": "difference of class means"}

    def method(units: int, balanced: bool) -> Fit:  # noqa: ARG001 - no scale is needed
        return lambda x, y, words: _mean(x, y, words if balanced else None)

    return _directions(acts, method, about, by, relabelings, seed, progress)


class _Split(NamedTuple):
    """What is left out together, and the labelings that the fits are repeated under."""

    by: str
    groups: Int[np.ndarray, " example"]
    labelings: Int[np.ndarray, "labeling example"]  # the first: the labels as they are
    left_out: str


def _directions(
    acts: Activations,
    method: Callable[[int, bool], Fit],
    about: dict[str, Any],
    by: str | None,
    relabelings: int,
    seed: int,
    progress: bool,
) -> Directions:
    split = _split(acts.contexts, by, relabelings, seed)
    words = acts.contexts.word_codes
    weights = torch.stack(
        [
            example_weights(labels, words if split.by == "word" else None)[0]
            for labels in split.labelings
        ]
    )
    total = len(acts.layers) * len(acts.sites)
    rows, scores = [], []
    directions = {
        site.name: torch.full(
            (len(acts.layers), site.width), torch.nan, dtype=torch.float64, device="cpu"
        )
        for site in acts.sites
    }
    with progress_bar(
        total=total, desc=f"directions, {about['method']}", disable=not progress
    ) as bar:
        for row, layer in enumerate(acts.layers):
            for site in acts.sites:
                x = acts.site(site.name)[row].double()
                rows.append({"layer": layer, "site": site.name, "units": site.width})
                if bool(torch.isfinite(x).all()) and not bool((x == x[:1]).all()):
                    fit = method(site.width, split.by == "word")
                    z, back = _axes(x)
                    held_out, in_sample, found = _scored(z, split, words, weights, fit)
                    directions[site.name][row] = back(found).cpu()
                else:
                    held_out = torch.full((len(weights),), torch.nan, dtype=torch.float64)
                    in_sample = math.nan
                rows[-1]["accuracy"] = in_sample
                scores.append(held_out.cpu().numpy())
                bar.update()
    table = _table(pd.DataFrame(rows), np.stack(scores))
    about |= {
        "by": split.by,
        "left_out": split.left_out,
        "labelings": len(split.labelings) - 1,
        "seed": seed,
        "contexts": len(acts.contexts),
        "groups": list(acts.contexts.contrast.groups),
        "model": acts.model.get("name", "a model"),
    }
    return Directions(table, directions, tuple(acts.layers), about)


def _split(contexts: Contexts, by: str | None, relabelings: int, seed: int) -> _Split:
    """Decide what is left out, and draw the other labelings."""
    check_relabelings(relabelings)
    if by is None:
        by = "word"
        if has_pairs(contexts):
            by = "item" if "item" in contexts.examples else "pair"
    if by not in LEFT_OUT:
        raise ValueError(f"by must be one of {', '.join(LEFT_OUT)}; got {by!r}")
    labels = contexts.labels.numpy()
    if by != "word":
        flipped_of(contexts)  # refuses pairs that lack a class
    groups = groups_of(contexts, by, 5, seed)
    check_folds(labels, groups, by)
    if by == "word":
        labelings, n = relabelings_of(contexts, relabelings, seed), len(contexts.word_types)
    else:
        codes, names = pd.factorize(contexts.examples[by].astype(str))
        labelings, n = _flipped(labels, codes, len(names), relabelings, seed), len(names)
    if relabelings and len(labelings) == 1:
        raise ValueError(
            "a relabeling gives each word one class; a word here has both: leave relabelings at "
            'relabelings=0, or leave pairs out (by="pair")'
        )
    return _Split(by, groups, labelings, f"{n} {by}s")


def _flipped(
    labels: np.ndarray, codes: np.ndarray, n: int, count: int, seed: int
) -> Int[np.ndarray, "labeling example"]:
    """Exchange the labels within pairs (items) drawn at random; the labels as they are first."""
    rng = np.random.default_rng((seed, 4))
    flips = rng.integers(0, 2, (count, n), dtype=labels.dtype)
    return np.vstack([labels, labels ^ flips[:, codes]])


def _axes(x: Float[Tensor, "example unit"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Write centred examples along their principal axes; also return the way back of a direction.

    Neither a ridge nor a difference of means changes when the axes are turned, and there are never
    more axes than examples.
    """
    x = x - x.mean(dim=0)
    if len(x) < x.shape[1]:
        size, axes = torch.linalg.eigh(x @ x.T)
        kept = size > SMALLEST_AXIS * size[-1]
        root = size[kept].sqrt()
        return axes[:, kept] * root, lambda along: x.T @ (axes[:, kept] @ (along / root))
    size, axes = torch.linalg.eigh(x.T @ x)
    kept = axes[:, size > SMALLEST_AXIS * size[-1]]
    return x @ kept, lambda along: kept @ along


def _scored(
    z: Float[Tensor, "example axis"],
    split: _Split,
    words: Int[np.ndarray, " example"],
    weights: Float[Tensor, "labeling example"],
    fit: Fit,
) -> tuple[Float[Tensor, " labeling"], float, Float[Tensor, " axis"]]:
    """Accuracy on what is left out under every labeling; in sample; the direction of all."""
    y = torch.from_numpy(split.labelings).to(z)
    weights = weights.to(z)
    right = torch.empty_like(y)
    for group in np.unique(split.groups):
        test = torch.from_numpy(split.groups == group).to(z.device)
        along, threshold = fit(z[~test], y[:, ~test], words[split.groups != group])
        right[:, test] = _is_right(z[test], y[:, test], along, threshold)
    along, threshold = fit(z, y[:1], words)
    in_sample = (weights[:1] * _is_right(z, y[:1], along, threshold)).sum()
    return (weights * right).sum(dim=1), float(in_sample), along[0]


def _is_right(z: Tensor, y: Tensor, along: Tensor, threshold: Tensor) -> Tensor:
    return ((along @ z.T > threshold[:, None]) == (y == 1)).to(z.dtype)


def _ridge(x: Tensor, y: Tensor, units: int, penalty: float) -> tuple[Tensor, Tensor]:
    mean = x.mean(dim=0)
    scale = ((x - mean).square().sum() / (len(x) * units)).sqrt()
    weights, intercept = ridge.fit_labelings((x - mean) / scale, y, penalty)
    along = weights / scale
    # Right where the log-odds exceed those of the training part, as in the probe of heads.
    return along, torch.logit(y.mean(dim=1)) - intercept + along @ mean


def _mean(x: Tensor, y: Tensor, words: np.ndarray | None) -> tuple[Tensor, Tensor]:
    labels = y.cpu().numpy().astype(np.int64)
    weights = torch.stack([2 * example_weights(row, words)[0] for row in labels]).to(x)
    first, second = (weights * y) @ x, (weights * (1 - y)) @ x
    along = first - second
    return along, ((first + second) / 2 * along).sum(dim=1)


def _table(rows: pd.DataFrame, scores: Float[np.ndarray, "row labeling"]) -> pd.DataFrame:
    rows.insert(3, "held_out_accuracy", scores[:, 0])
    if scores.shape[1] == 1:
        return rows
    others, known = scores[:, 1:], ~np.isnan(scores[:, 0])
    low, high = np.quantile(others, (0.05, 0.95), axis=1)
    largest = scores[known].max(axis=0) if known.any() else scores[0]
    return rows.assign(
        null_held_out_low=low,
        null_held_out_high=high,
        held_out_p=_share_reaching(scores, scores[:, :1], known),
        held_out_p_max=_share_reaching(largest[None], scores[:, :1], known),
    )


def _share_reaching(
    scores: np.ndarray, found: np.ndarray, known: Bool[np.ndarray, " row"]
) -> Float[np.ndarray, " row"]:
    """Share of labelings, the observed one included, whose score is at least as large."""
    share = (scores >= found - ROUNDING).mean(axis=1)
    return np.where(known, share, np.nan)
