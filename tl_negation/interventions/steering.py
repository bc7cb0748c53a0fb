"""What adding a direction at the target does to the words that follow, against random ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from .._shared import Count, Seed, real, validated
from ..activations import Activations
from ..corpus import Contexts
from ..inference import Directions
from ..models import Site, TransformerLensModel, site_name
from .ablation import DRAWS, check_draws, effect_lines, effect_tables
from .continuation import Edit
from .measurement import measure
from .setting import PER_CLASS, Setting, make_setting


@dataclass(frozen=True, repr=False)
class Steering:
    """What adding a direction at the target did to the log-probability of the words after it.

    Attributes
    ----------
    table
        A row per class and one for their difference, with the columns of
        :class:`tl_negation.Ablation`; ``how`` is ``"add"``, ``units`` the width of the site, and
        the random sets are random directions of the same length.
    draws
        Effect of every random direction: ``draw``, and a column per class and for the difference.
    examples
        ``example`` (its row in the contexts), ``label``, ``group``, ``word``, ``clean``
        (log-probability without a change), ``change``.
    direction
        ``Float[Tensor, "unit"]``, what was added.
    about
        What was done, JSON-able: ``site, layer, length, follow, seed, contexts, draws, model`` ...

    Examples
    --------
    >>> few = {"acts": acts, "per_class": 6, "draws": 19, "progress": False}
    >>> along = tln.mean_difference(acts, relabelings=0, progress=False)
    >>> tln.steer(model, contexts, along, layer=1, site="v", **few)
    Steering along v layer 1 (length ...) of ... at the target: change of the log-probability of
    the next 2 tokens; 6 negation, 6 affirmation contexts, 19 random directions, seed 0
      negation: ... nats; random directions ..., p = ...
    ...
    """

    table: pd.DataFrame
    draws: pd.DataFrame
    examples: pd.DataFrame
    direction: Float[Tensor, " unit"]
    about: Mapping[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """The table: a row per class and one for the difference."""
        return self.table.copy()

    def __repr__(self) -> str:
        about = self.about
        sizes = ", ".join(f"{n} {group}" for group, n in about["contexts"].items())
        head = (
            f"Steering along {about['site']} layer {about['layer']} (length {about['length']:.3g}) "
            f"of {about['model']} at the target: change of the log-probability of the next "
            f"{about['follow']} token{'s' * (about['follow'] != 1)}; {sizes} contexts, "
            f"{len(self.draws)} random directions, seed {about['seed']}"
        )
        return "\n".join([head, *effect_lines(self.table, "directions")])

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, float_format="{:.3g}".format)
        return f"<pre>{escape(repr(self))}</pre>{table}"


@validated
def steer(
    model: TransformerLensModel,
    contexts: Contexts,
    direction: Directions | Tensor | np.ndarray,
    *,
    layer: int,
    site: str = "resid_post",
    length: Annotated[int | float, real] | None = None,
    acts: Activations | None = None,
    per_class: Count | None = PER_CLASS,
    follow: int | None = None,
    draws: int = DRAWS,
    seed: Seed = 0,
    batch_size: Count | None = None,
    keep: bool = True,
    progress: bool = True,
) -> Steering:
    """Add a direction at the target, and see what happens to the words that follow.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
        In evaluation mode.
    contexts : Contexts
        With tokens after the target.
    direction
        ``[unit]``, as wide as the site; or what :func:`tl_negation.mean_difference` or
        :func:`tl_negation.layer_probe` returned, of which the direction of this site and layer is
        taken.
    layer
        Where it is added.
    site
        Name of the site, or of a hook within a block.
    length
        The direction is scaled to this length (its Euclidean norm, in the activations' units);
        below 0, it is turned round. If not given, the distance between the class means.
    acts
        Activations of ``contexts`` at this site and layer; collected if not given.
    per_class, follow, batch_size, keep, progress
        As in :func:`tl_negation.ablate`.
    draws
        Random directions to compare with: of the same length, each a random mixture of the
        activations' deviations from their mean, so that they lie in the same subspace and along
        directions in which activations do vary.
    seed
        Of contexts and random directions.

    Returns
    -------
    Steering

    Raises
    ------
    TypeError
        Not a TransformerLens model; arguments of another type, named.
    KeyError
        No direction of this site and layer.
    ValueError
        A direction of another width, with values that are not finite, or of length 0; a length of
        0 or that is not finite; activations that do not vary; no tokens after the target; fewer
        than 19 draws; what :func:`tl_negation.collect` refuses.

    Notes
    -----
    Turner et al. 2023 (activation addition); Marks & Tegmark 2024 (adding a difference of means).
    The direction is added only at the position of the target, in every context, whatever its class.
    The p value says how often a random direction changes as much (two-sided, on the absolute
    value). A large effect says that the model reads something along this direction here; not that
    it is the category that it reads, nor that nothing else carries the category. Far from where
    activations lie, any direction has effects: look at ``length`` beside the distance between the
    classes.

    Examples
    --------
    >>> few = {"acts": acts, "per_class": 6, "draws": 19, "progress": False}
    >>> along = acts.site("v")[1, 0]  # any vector of this width
    >>> found = tln.steer(model, contexts, along, layer=1, site="v", length=0.5, **few)
    >>> list(found.table["class"]), round(float(found.direction.norm()), 6)
    (['negation', 'affirmation', 'negation minus affirmation'], 0.5)
    """
    check_draws(draws)
    if length is not None and (length == 0 or not math.isfinite(length)):
        raise ValueError(
            f"length is a finite number other than 0, at which nothing changes; got {length}"
        )
    given = _vector(direction, site, layer)
    setting = make_setting(
        model, contexts, acts, sites=(site,), layers=[layer], how="add", per_class=per_class,
        follow=follow, seed=seed, batch_size=batch_size, keep=keep, progress=progress,
    )  # fmt: skip
    values, record = _values(setting.acts, site, layer, len(given))
    size = _distance(values, contexts.labels) if length is None else float(length)
    added = given.to(values) / float(given.norm()) * size
    random = _random(values, abs(size), draws, seed)
    vectors = list(torch.cat([added[None], random]).cpu().numpy())

    def changing(setting: Setting, vectors: Sequence[np.ndarray], part: slice) -> _Added:  # noqa: ARG001 - the same in every part
        return _Added(record.hook_name(layer), record, vectors[0])

    changes, clean = measure(setting, vectors, "steering", changing)
    about = {
        **{name: value for name, value in setting.about().items() if name != "how"},
        "site": record.name,
        "layer": layer,
        "length": size,
        "draws": draws,
    }
    tables = effect_tables(setting, changes, clean, len(added))
    return Steering(*tables, added.cpu(), about)


class _Added:
    """Adds a vector at one hook, another one in each copy."""

    def __init__(self, name: str, site: Site, like: np.ndarray):
        self.hooks = {name: site}
        self.nothing = np.zeros_like(like)

    def edits(self, stack: Sequence[np.ndarray]) -> Mapping[str, Edit]:
        vectors = torch.from_numpy(np.stack(stack))

        def edit(at: Tensor) -> Tensor:
            by_copy = rearrange(at, "(example copy) unit -> example copy unit", copy=len(stack))
            return rearrange(by_copy + vectors.to(at), "example copy unit -> (example copy) unit")

        return dict.fromkeys(self.hooks, edit)


def _vector(
    direction: Directions | Tensor | np.ndarray, site: str, layer: int
) -> Float[Tensor, " unit"]:
    if isinstance(direction, Directions):
        direction = direction.along(site_name(site), layer)
    vector = torch.as_tensor(direction).detach().double()
    if vector.ndim != 1:
        raise ValueError(
            f"a direction is one vector, [unit]; got {tuple(vector.shape)}: give the row of layer "
            f"{layer}, or all that mean_difference or layer_probe returned"
        )
    if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
        raise ValueError("a direction needs finite values, not all of them 0")
    return vector


def _values(
    acts: Activations, site: str, layer: int, width: int
) -> tuple[Float[Tensor, "example unit"], Site]:
    """Activations of this site and layer in float64, and the site."""
    values = acts.site(site)
    if layer not in acts.layers:
        held = ", ".join(map(str, acts.layers))
        raise ValueError(
            f"the activations hold layers {held}, not {layer}: leave acts out to collect them"
        )
    if width != values.shape[2]:
        raise ValueError(
            f"a direction at {site} is {values.shape[2]} wide; got one of {width} units"
        )
    record = next(known for known in acts.sites if known.name == site_name(site))
    return values[acts.layers.index(layer)].double(), record


def _distance(values: Float[Tensor, "example unit"], labels: Tensor) -> float:
    """Distance between the class means."""
    labels = labels.to(values.device)
    means = [values[labels == label].mean(dim=0) for label in (0, 1)]
    distance = float((means[1] - means[0]).norm())
    if not distance > 0:
        raise ValueError(
            "the class means do not differ, or activations are not finite: give a length"
        )
    return distance


def _random(
    values: Float[Tensor, "example unit"], length: float, draws: int, seed: int
) -> Float[Tensor, "draw unit"]:
    """Draw directions from the subspace, and as the covariance, of the activations."""
    rng = np.random.default_rng([seed, 5])
    mixed = torch.from_numpy(rng.standard_normal((draws, len(values)))).to(values)
    vectors = mixed @ (values - values.mean(dim=0))
    sizes = vectors.norm(dim=1, keepdim=True)
    if not bool((sizes > 0).all()):
        raise ValueError(
            "activations that do not vary, or are not finite, span no subspace to draw random "
            "directions from"
        )
    return vectors / sizes * length
