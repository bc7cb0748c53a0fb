"""What replacing units does to the words that follow, against random units that resemble them."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from .._shared import Count, Seed, lists, validated
from ..activations import Activations
from ..corpus import Contexts
from ..models import TransformerLensModel, check_units, places, table_of
from ..probing import result_of
from .matching import Draw, matched_sets, variances
from .measurement import measure
from .replacements import HOWS, How, known_how
from .setting import PER_CLASS, Setting, make_setting

#: Quantiles of the random sets' effects that a table holds.
QUANTILES = {"random_q025": 0.025, "random_q25": 0.25, "random_q50": 0.5}
QUANTILES |= {"random_q75": 0.75, "random_q975": 0.975}
#: Fewest draws: with fewer, no p value of .05 is well determined.
FEWEST_DRAWS, DRAWS = 19, 100


@dataclass(frozen=True, repr=False)
class Ablation:
    """What replacing some units at the target did to the log-probability of the words after it.

    Attributes
    ----------
    table
        A row per class and one for their difference: ``how``, ``class``, ``effect`` (mean over the
        class's contexts of the change in nats; difference: first class minus second),
        ``random_mean`` and quantiles ``random_q025`` to ``random_q975`` of the same over the
        matched random sets, ``p`` (two-sided, on the absolute value, ``(1 + draws at least as
        large) / (1 + draws)``), ``draws`` (random sets: fewer than asked for if there are no more),
        ``units``, ``contexts``, ``follow``, ``seed``.
    draws
        Effect of every random set: ``draw``, and a column per class and for the difference.
    examples
        ``example`` (its row in the contexts), ``label``, ``group``, ``word``, ``clean``
        (log-probability without a change), ``change``.
    units
        The replaced units: ``layer, site, head, index``.
    about
        What was done, JSON-able; ``variance_ratio`` is the mean variance of the random units over
        that of the chosen ones (geometric means): 1 if the matching is perfect.

    Examples
    --------
    >>> few = {"acts": acts, "per_class": 6, "draws": 19, "progress": False}
    >>> found = tln.ablate(model, contexts, result.top(5), "zero", **few)
    >>> found
    Ablation (zero) of 5 units of ... at the target: change of the log-probability of the next
    2 tokens; 6 negation, 6 affirmation contexts, 19 matched random sets, seed 0
      negation: +0.02... nats; random sets ... (-0.1... to +0.0...), p = 0.55
    ...
    >>> found.examples["change"].groupby(found.examples["group"]).mean().round(2).to_dict()
    {'affirmation': 0.2, 'negation': 0.03}
    """

    table: pd.DataFrame
    draws: pd.DataFrame
    examples: pd.DataFrame
    units: pd.DataFrame
    about: Mapping[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """The table: a row per class and one for the difference."""
        return self.table.copy()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n} {group}" for group, n in self.about["contexts"].items())
        return "\n".join(
            [
                f"Ablation ({self.about['how']}) of {_count(len(self.units), 'unit')} of "
                f"{self.about['model']} at the target: change of the log-probability of the next "
                f"{_count(self.about['follow'], 'token')}; {sizes} contexts, "
                f"{len(self.draws)} matched random sets, seed {self.about['seed']}",
                *effect_lines(self.table, "sets"),
            ]
        )

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, float_format="{:.3g}".format)
        return f"<pre>{escape(repr(self))}</pre>{table}"


def effect_lines(table: pd.DataFrame, what: str) -> list[str]:
    """Write a line for each row of effects beside those of random sets, or whatever was drawn."""
    return [
        f"  {row['class']}: {row['effect']:+.4f} nats; random {what} {row['random_mean']:+.4f} "
        f"({row['random_q025']:+.4f} to {row['random_q975']:+.4f}), p = {row['p']:.3g}"
        for row in table.to_dict("records")
    ]


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


@lists(hows=HOWS)
@validated
def ablate(
    model: TransformerLensModel,
    contexts: Contexts | pd.DataFrame,
    units: Any = None,  # DataFrame: check_units below says more than its type
    how: How = "mean",
    *,
    acts: Activations | None = None,
    per_class: Count | None = PER_CLASS,
    follow: int | None = None,
    draws: int = DRAWS,
    seed: Seed = 0,
    batch_size: Count | None = None,
    keep: bool = True,
    progress: bool = True,
) -> Ablation:
    """Replace units at the target, and see what happens to the words that follow.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
        In evaluation mode.
    contexts : Contexts
        With tokens after the target. May be left out before units that come from a result which
        is still held: ``ablate(model, result.top(20))``.
    units : DataFrame
        ``layer, site, head, index`` of each, as ``result.top(20)`` gives; without ``index``,
        whole heads. All of them are replaced together.
    how
        What a unit's activation is replaced by:

        {hows}
    acts
        Activations of ``contexts`` at the units' sites and layers, for means, donors and
        variances; collected if not given.
    per_class
        Contexts of each class on which the effect is measured, drawn at random; None for all.
    follow
        Tokens after the target whose log-probabilities are summed; if not given, 5, or as many as
        the windows hold.
    draws
        Random sets to compare with. The units of a site in a layer are sorted by variance and cut
        into strata of 20 to 39; a random set has as many units of every stratum as the chosen one,
        drawn from all of them, the chosen ones included. Where whole heads were chosen, whole heads
        of the same layer and site are drawn, whatever their variance. If there are no more sets
        than this, each is taken once.
    seed
        Of contexts, donors and random sets.
    batch_size
        Rows (a context under one set) per forward pass to begin with; halved if they do not fit.
    keep
        Compute keys and values of the tokens before the target once per context (they do not
        depend on the target). Done only if it gives the same log-probabilities.
    progress
        Show a progress bar.

    Returns
    -------
    Ablation

    Raises
    ------
    TypeError
        ``units`` is not a DataFrame; not a TransformerLens model; arguments of another type,
        named.
    ValueError
        No unit, one that does not exist or is named twice; more than five sixths of a site in a
        layer chosen, or units to which there is no other set; an unknown ``how``; no tokens after
        the target; fewer than 19 draws; what :func:`tl_negation.collect` refuses.

    Notes
    -----
    The replacement is made only at the position of the target, in every context. The mean weighs
    every context the same, so it does not tell the class; a donor is drawn once per context and is
    the same for all units and sets. The effect is on the continuation that the text has, in nats;
    below 0, the text's own words became less probable.

    The p value says how often a random set of such units changes as much: it is a permutation p
    value (Phipson & Smyth 2010), and it holds its level if every set of the same strata was as
    likely to be chosen. In simulations with up to five sixths of a site chosen, 5 % of sets passed
    at .05. A random set shares units with the chosen one, the more the more are chosen, so that p
    is seldom small for most of a site. A few heads leave few sets: one of three heads cannot have a
    p below 1/3. Single units are drawn one by one: 32 units chosen at random in one head of SmolLM2
    passed at .05 in 7 to 10 % of simulations with the effects that the gradient estimates, since
    some heads matter more than others; ask for whole heads there. The p value is about these
    contexts, which share words and overlap, and about these units together, not about each. That
    the model *needs* a set does not say what for, and that it does not need it may mean that other
    units carry the same (redundancy). With ``zero``, units leave the range that the model was
    trained in; ``mean`` and ``resample`` are gentler. With kept keys the cost is that of
    ``(draws + 1) * contexts * follow`` tokens, and of the windows once.

    Examples
    --------
    >>> few = {"acts": acts, "per_class": 6, "draws": 19, "progress": False}
    >>> found = tln.ablate(model, contexts, result.top(5), "zero", **few)
    >>> found.to_frame()[["class", "effect", "random_q025", "random_q975", "p"]].round(2)
                            class  effect  random_q025  random_q975     p
    0                    negation    0.03        -0.13         0.08  0.55
    1                 affirmation    0.20        -0.06         0.10  0.05
    2  negation minus affirmation   -0.18        -0.14         0.09  0.10
    """
    if isinstance(contexts, pd.DataFrame):  # the units, with what follows them one place early
        how = units if isinstance(units, str) else how
        known_how("how", how)
        units, contexts = contexts, result_of(contexts).contexts
    units = check_units(units)
    check_draws(draws)
    sites = tuple(dict.fromkeys(units["site"].astype(str)))
    layers = sorted(set(units["layer"].astype(int)))
    setting = make_setting(
        model, contexts, acts, sites=sites, layers=layers, how=how, per_class=per_class,
        follow=follow, seed=seed, batch_size=batch_size, keep=keep, progress=progress,
    )  # fmt: skip
    chosen = places(units, setting.acts.sites, setting.acts.layers)
    return ablations(setting, {"": chosen}, draws)[""]


def check_draws(draws: int) -> None:
    """Raise if there are too few draws for a p value of .05.

    Raises
    ------
    ValueError
        Fewer than 19.
    """
    if draws < FEWEST_DRAWS:
        raise ValueError(
            f"draws must be at least {FEWEST_DRAWS}, or no p value can be .05; got {draws}"
        )


def ablations(
    setting: Setting,
    chosen: Mapping[str, np.ndarray],
    draws: int,
    by_head: Container[str] = (),
) -> dict[str, Ablation]:
    """Ablate several selections of units, each beside its own random sets, in one go.

    Parameters
    ----------
    setting
        Model, contexts and kind of replacement.
    chosen
        Positions of units, by the name of the selection.
    draws
        Random sets of each.
    by_head
        Names of the selections that took heads: what they took of a head stays together.
    """
    acts, variance = setting.acts, variances(setting.acts)
    sets, ends = [], {}
    for number, (name, units) in enumerate(chosen.items()):
        rng = np.random.default_rng([setting.seed, number])
        among = Draw(variance, acts.sites, acts.layers, name in by_head)
        start = len(sets)
        sets += [units, *matched_sets(units, among, draws, rng)]
        ends[name] = slice(start, len(sets))
    changes, clean = _measure_once(setting, sets)
    return {
        name: _ablation(setting, sets[ends[name]], changes[ends[name]], clean, variance)
        for name in chosen
    }


def _measure_once(
    setting: Setting, sets: Sequence[np.ndarray]
) -> tuple[Float[np.ndarray, "set example"], Float[np.ndarray, " example"]]:
    """Measure equal sets once: measured twice, they would differ by rounding and not be tied."""
    keys = [tuple(sorted(units.tolist())) for units in sets]
    different = dict.fromkeys(keys)
    changes, clean = measure(setting, [np.array(key, np.int64) for key in different], "ablation")
    row = {key: i for i, key in enumerate(different)}
    return changes[[row[key] for key in keys]], clean


def _ablation(
    setting: Setting,
    sets: list[np.ndarray],
    changes: Float[np.ndarray, "set example"],
    clean: Float[np.ndarray, " example"],
    variance: Float[np.ndarray, " unit"],
) -> Ablation:
    units = sets[0]
    tables = effect_tables(setting, changes, clean, len(units))
    about = setting.about() | {
        "draws": len(tables.draws),
        "variance_ratio": _variance_ratio(variance, sets),
    }
    found = table_of(units, setting.acts.sites, setting.acts.layers)
    return Ablation(*tables, found, about)


class EffectTables(NamedTuple):
    """Effects by class beside those of what was drawn; the draws; the measured examples."""

    table: pd.DataFrame
    draws: pd.DataFrame
    examples: pd.DataFrame


def effect_tables(
    setting: Setting,
    changes: Float[np.ndarray, "set example"],
    clean: Float[np.ndarray, " example"],
    units: int,
) -> EffectTables:
    """Make the tables of an intervention: the first change beside all others, which were drawn."""
    examples = setting.examples
    effects = class_effects(changes, examples["label"].to_numpy(), setting.contexts.contrast.groups)
    rows = [
        {
            "how": setting.how,
            "class": name,
            **against(by_set[0], by_set[1:]),
            "units": units,
            "contexts": _contexts_of(name, examples["group"]),
            "follow": setting.follow,
            "seed": setting.seed,
        }
        for name, by_set in effects.items()
    ]
    draws = pd.DataFrame({name: by_set[1:] for name, by_set in effects.items()})
    kept = examples[["label", "group", "word"]].assign(clean=clean, change=changes[0])
    kept.insert(0, "example", setting.rows)
    return EffectTables(pd.DataFrame(rows), draws.rename_axis("draw").reset_index(), kept)


def class_effects(
    changes: Float[np.ndarray, "set example"],
    labels: Int[np.ndarray, " example"],
    groups: Sequence[str],
) -> dict[str, Float[np.ndarray, " set"]]:
    """Mean change by every set in each class, and that in the first class minus the second."""
    second, first = groups
    means = {
        first: changes[:, labels == 1].mean(axis=1),
        second: changes[:, labels == 0].mean(axis=1),
    }
    return means | {f"{first} minus {second}": means[first] - means[second]}


def against(observed: float, random: Float[np.ndarray, " draw"]) -> dict[str, float]:
    """Place an effect among those of the random sets."""
    return {
        "effect": float(observed),
        "random_mean": float(random.mean()),
        **{name: float(np.quantile(random, q)) for name, q in QUANTILES.items()},
        "p": p_value(observed, random),
        "draws": len(random),
    }


def p_value(observed: float, random: Float[np.ndarray, " draw"]) -> float:
    """Share of sets with an effect at least as large in size, the observed one among them."""
    larger = int((np.abs(random) >= abs(observed)).sum())
    return (1 + larger) / (1 + len(random))


def _contexts_of(name: str, groups: pd.Series) -> int:
    """Contexts of a class; of the difference, which is not a class, all."""
    own = int((groups == name).sum())
    return own or len(groups)


def _variance_ratio(variance: Float[np.ndarray, " unit"], sets: list[np.ndarray]) -> float:
    if not len(sets[0]):
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):  # units that never change
        logs = np.log(variance)
        return float(np.exp(logs[np.stack(sets[1:])].mean() - logs[sets[0]].mean()))
