"""The gradient's estimate of what replacing each unit would do, for all units in two passes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Count, Seed, progress_bar, validated
from ..activations import Activations
from ..corpus import Contexts
from ..models import TransformerLensModel, layer_width, table_of
from .continuation import Continuation, Edit
from .measurement import CONTEXTS, measure, of_windows
from .replacements import How
from .setting import PER_CLASS, Setting, make_setting

#: Units whose effect is also measured: half of them those with the largest estimate.
CHECKED = 40


@dataclass(frozen=True, repr=False)
class Attribution:
    """What replacing each unit alone would do by the gradient, and what it does where measured.

    Attributes
    ----------
    table
        A row per unit: ``layer, site, head, index``, then the estimated mean change of the
        log-probability of the continuation (nats): ``estimate_1`` in contexts of the contrast's
        first class, ``estimate_0`` in those of the second, ``estimate`` their difference.
    checked
        The units that were replaced one at a time: the columns of ``table``, ``measured_1``,
        ``measured_0``, ``measured`` and ``drawn`` (``largest``: |estimate|; ``random``).
    about
        What was done, JSON-able; ``correlation`` (Pearson) and ``rank_correlation`` (Spearman)
        between estimate and measurement for ``all`` checked units and the ``random`` ones.

    Examples
    --------
    >>> few = {"acts": acts, "per_class": 6, "checked": 8, "progress": False}
    >>> found = tln.attribute(model, contexts, **few)
    >>> found.checked["drawn"].value_counts().to_dict()
    {'largest': 4, 'random': 4}
    >>> found.about["correlation"]["all"] > 0.9  # how far to trust the estimates here
    True
    """

    table: pd.DataFrame
    checked: pd.DataFrame
    about: Mapping[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """The table: a row per unit."""
        return self.table.copy()

    def top(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` units with the largest estimated difference, by size."""
        order = self.table["estimate"].abs().sort_values(ascending=False, kind="stable")
        return self.table.loc[order.index[:n]]

    def __repr__(self) -> str:
        r = self.about["correlation"]
        ranks = self.about["rank_correlation"]
        return (
            f"Attribution ({self.about['how']}) of {len(self.table):,} units of "
            f"{self.about['model']}; estimate against measurement of {len(self.checked)} units: "
            f"r = {r['all']:.2f}, rank correlation {ranks['all']:.2f} "
            f"(random units only: {r['random']:.2f}, {ranks['random']:.2f})"
        )

    def _repr_html_(self) -> str:
        table = self.top(5).to_html(index=False, float_format="{:.3g}".format)
        return f"<pre>{escape(repr(self))}</pre><p>largest estimated difference</p>{table}"


@validated
def attribute(
    model: TransformerLensModel,
    contexts: Contexts,
    *,
    acts: Activations | None = None,
    sites: Iterable[str] = ("q", "k", "v"),
    layers: Iterable[int] | None = None,
    how: How = "mean",
    per_class: Count | None = PER_CLASS,
    follow: int | None = None,
    checked: int = CHECKED,
    seed: Seed = 0,
    batch_size: Count | None = None,
    keep: bool = True,
    progress: bool = True,
) -> Attribution:
    """Estimate what replacing every unit would do, and measure it for some.

    A forward pass of the continuation and a backward pass of its log-probability give the gradient
    at every unit; the estimate is ``(replacement - activation) * gradient``, averaged over the
    contexts of a class.

    Parameters
    ----------
    model, contexts, how, per_class, follow, seed, batch_size, keep, progress
        As in :func:`tl_negation.ablate`.
    acts
        Activations of ``contexts``; collected at ``sites`` and ``layers`` if not given.
    sites, layers
        Which units, if ``acts`` is not given.
    checked
        How many units to replace one at a time: half of them with the largest estimated
        difference, half drawn at random from the others.

    Returns
    -------
    Attribution

    Raises
    ------
    TypeError
        Not a TransformerLens model; arguments of another type, named.
    ValueError
        ``checked`` below 4, or what :func:`tl_negation.ablate` refuses.

    Notes
    -----
    Sources: attribution patching (Nanda 2023, "Attribution Patching: Activation Patching At
    Industrial Scale"; Syed, Rager & Conmy 2023). The estimate is of first order: it misses what
    saturates, such as an attention pattern, and the effect of units replaced together is not the
    sum of their single effects. Its correlation with the measured effects says how far to trust it
    here; the ``random`` correlation is the one that does not profit from picking the largest
    estimates.

    Against the exact effects of single units, on SmolLM2-135M (``load_model("demo")``) in layers 3,
    15 and 26, units replaced by their mean, 5 tokens after the target, difference of the classes:

    =========  ================================  ====================================
    site       60 units drawn at random, 10      15 units with the largest estimates,
               contexts of Python's own manual   8 contexts of *The Variable Man*
    =========  ================================  ====================================
    q          rank correlation .997, slope .96  .98, slope 1.00
    k          .998, .99                         .99, .95
    v          .999, 1.00                        1.00, 1.00
    mlp_pre    .90, .82                          .94, .65
    =========  ================================  ====================================

    The slope is that of the exact effect on the estimate, through the origin: an MLP unit does less
    than is estimated for it, above all one with a large estimate. These figures do not carry over
    to other models, to ``zero``, which goes further from the activation, or to sites that were not
    tried; nor do they say anything about units replaced together.

    Examples
    --------
    >>> few = {"acts": acts, "per_class": 6, "checked": 8, "progress": False}
    >>> found = tln.attribute(model, contexts, **few)
    >>> found
    Attribution (mean) of 420 units of ...; estimate against measurement of 8 units:
    r = 0.99, rank correlation 0.9... (random units only: 0.98, ...)
    >>> found.top(2).round(2)
         layer     site  head  index  estimate_1  estimate_0  estimate
    106      0  mlp_pre  <NA>     46        0.00        0.17     -0.17
    115      0  mlp_pre  <NA>     55        0.01       -0.16      0.16
    """
    if checked < 4:
        raise ValueError(f"checked must be at least 4 units, for a correlation; got {checked}")
    setting = make_setting(
        model, contexts, acts, sites=sites, layers=layers, how=how, per_class=per_class,
        follow=follow, seed=seed, batch_size=batch_size, keep=keep, progress=progress,
    )  # fmt: skip
    return attribution_of(setting, checked)


def attribution_of(setting: Setting, checked: int) -> Attribution:
    """Estimate for all units, measure for some."""
    by_class = estimates(setting).cpu().numpy()
    names = ("estimate_1", "estimate_0", "estimate")
    every = table_of(np.arange(by_class.shape[1]), setting.acts.sites, setting.acts.layers)
    values = (by_class[1], by_class[0], by_class[1] - by_class[0])
    table = every.assign(**dict(zip(names, values, strict=True)))
    units, drawn = _drawn(table["estimate"].to_numpy(), checked, setting.seed)
    changes, _ = measure(setting, [units[i : i + 1] for i in range(len(units))], "units")
    labels = setting.examples["label"].to_numpy()
    first, second = (changes[:, labels == label].mean(axis=1) for label in (1, 0))
    measured = {"measured_1": first, "measured_0": second, "measured": first - second}
    rows = table.iloc[units].reset_index(drop=True).assign(**measured, drawn=drawn)
    about = setting.about() | _correlations(rows)
    return Attribution(table, rows, about)


def estimates(setting: Setting) -> Float[Tensor, "label unit"]:
    """Estimated mean change in contexts of label 0 and 1, for all layers end to end."""
    labels = setting.contexts.labels[torch.from_numpy(setting.rows)]
    width = layer_width(setting.acts.sites)
    total = torch.zeros(2, len(setting.acts.layers) * width, dtype=torch.float64, device="cpu")
    size = min(setting.batch_size or CONTEXTS, CONTEXTS)
    size = size if setting.kept else of_windows(size)
    bar = progress_bar(total=len(labels), desc="gradients", disable=not setting.progress)
    with bar:
        for part, continuation in setting.continuations(size):
            for positions, gradient, act, replaced in _gradients(setting, part, continuation):
                change = (replaced - act).cpu().double() * gradient.cpu().double()
                for label in (0, 1):
                    of_class = change[labels[part] == label]
                    total[label, positions] += of_class.sum(dim=0)
            bar.update(part.stop - part.start)
    return total / torch.stack([(labels == 0).sum(), (labels == 1).sum()])[:, None]


def _gradients(
    setting: Setting, part: slice, continuation: Continuation
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Per layer and site: positions, gradient, activation and replacement, ``[example, unit]``."""
    device = next(setting.model.parameters()).device
    n, slices = part.stop - part.start, list(setting.slices())
    hooks = {place.site.hook_name(place.layer): place.site for place in slices}
    # What is added is 0; its gradient is that of the activation, whether or not the model's own
    # parameters require gradients.
    added = {
        name: torch.zeros(n, site.width, dtype=torch.float32, device=device, requires_grad=True)
        for name, site in hooks.items()
    }
    continuation.edits = {name: _adds(zero) for name, zero in added.items()}
    with torch.enable_grad(), continuation.hooked(hooks):
        log_p = continuation.log_p(1).sum()
        gradients = torch.autograd.grad(log_p, list(added.values()))
    rows = torch.from_numpy(setting.rows[part])
    for place, gradient in zip(slices, gradients, strict=True):
        act = setting.acts.values[place.row][:, place.columns]
        replaced = setting.replacement(place.row, place.columns)[part]
        yield place.positions, gradient.to(act.device), act[rows.to(act.device)], replaced


def _adds(zero: Tensor) -> Edit:
    return lambda at: at + zero.to(at.device)


def _drawn(
    estimate: Float[np.ndarray, " unit"], checked: int, seed: int
) -> tuple[Int[np.ndarray, " chosen"], list[str]]:
    """Units to measure: half with the largest estimate, half at random from the others."""
    order = np.argsort(-np.abs(estimate), kind="stable")
    checked = min(checked, len(order))
    n_largest = checked // 2
    largest, others = order[:n_largest], order[n_largest:]
    rng = np.random.default_rng(seed)
    random = rng.choice(others, size=checked - n_largest, replace=False)
    kinds = ["largest"] * n_largest + ["random"] * len(random)
    return np.concatenate([largest, random]), kinds


def _correlations(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    from scipy.stats import pearsonr, spearmanr  # slow to import

    parts = {"all": rows, "random": rows[rows["drawn"] == "random"]}
    kinds = {"correlation": pearsonr, "rank_correlation": spearmanr}
    return {
        name: {part: _correlation(correlate, units) for part, units in parts.items()}
        for name, correlate in kinds.items()
    }


def _correlation(correlate: Callable[..., Any], rows: pd.DataFrame) -> float:
    """Correlation of estimate and measurement; NaN with fewer than three units or no variation."""
    x, y = rows["estimate"].to_numpy(), rows["measured"].to_numpy()
    if len(x) < 3 or not (np.ptp(x) and np.ptp(y)):
        return float("nan")
    return float(correlate(x, y).statistic)
