"""Choose a layer and a unit, and see it in text."""

import html
from uuid import uuid4

import numpy as np
import pandas as pd

from .._shared import validated
from ..activations import Features
from ..models import UNIT, TransformerLensModel
from ..probing import ProbeResult
from .contexts import display_table, heatmap, name_in_layer, name_of
from .page import View, to_script

#: Fills the second list when a layer is chosen, and shows one panel, drawn when first shown.
SCRIPT = """(() => {
  const units = %s, draw = [%s], root = %s;
  const part = (name) => document.getElementById(root + "-" + name);
  const layer = part("layer"), unit = part("unit");
  const add = (list, value, text) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = text;
    list.append(option);
  };
  const show = () => {
    const chosen = Number(unit.value);
    units.forEach((_, i) => { part(i).hidden = i !== chosen; });
    if (draw[chosen]) draw[chosen]();
    draw[chosen] = null;
  };
  const fill = () => {
    unit.replaceChildren();
    units.forEach((entry, i) => {
      if (entry.layer === Number(layer.value)) add(unit, i, entry.name);
    });
    show();
  };
  const layers = [...new Set(units.map((entry) => entry.layer))].sort((a, b) => a - b);
  layers.forEach((number) => add(layer, number, number));
  layer.value = units[0].layer;
  layer.addEventListener("change", fill);
  unit.addEventListener("change", show);
  fill();
  part("choice").hidden = false;
})();"""


@validated
def unit_browser(
    result: ProbeResult,
    *,
    model: TransformerLensModel | None = None,
    n: int = 20,
    contexts: int = 10,
    features: Features = None,
) -> View:
    """Choose among the strongest units by layer and name, and see each in text.

    Parameters
    ----------
    result : ProbeResult
        Whose units.
    model
        The TransformerLens model, to show the units of :func:`spread_units`; without it, those
        that :func:`tl_negation.scan` kept in ``result.display``.
    n
        How many units; only with a model.
    contexts
        In how many contexts (:func:`spread_examples`); only with a model.
    features
        What makes the features among the units, as in :func:`tl_negation.collect`.

    Returns
    -------
    View
        Two lists, the layer and the unit, above a heat map as of :func:`text_heatmap`. Each unit
        has a colour scale of its own. Without JavaScript all units are shown as plain text.

    Raises
    ------
    TypeError
        Not a result; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        No model, and a result that kept nothing to show.

    Notes
    -----
    The contexts illustrate; they are not evidence (:func:`text_heatmap`).

    Examples
    --------
    >>> tln.views.unit_browser(result, model=model, n=3, contexts=2)
    View(3 units, by token; .save(path) writes it as a page)
    """
    display = result.display
    if model is not None:
        units = spread_units(result, n)
        display = display_table(model, result.contexts, units, n=contexts, features=features)
    if display is None:
        raise ValueError(
            "this result kept no activations over whole windows: give the model, "
            "unit_browser(result, model=model), or scan with tl_negation.scan"
        )
    root, units, panels, draw = f"tln-{uuid4().hex}", [], [], []
    for _, rows in display.groupby(UNIT, sort=False, observed=True, dropna=False):
        unit, view = rows.iloc[0], heatmap(rows, result.contexts)
        head_line = f"<h3>{html.escape(name_of(unit))}</h3>"
        panels.append(
            f'<div class="tln-unit" id="{root}-{len(units)}">{head_line}{view.body}</div>'
        )
        draw.append(f"() => {{\n{view.script}\n}}")
        units.append({"layer": int(unit["layer"]), "name": name_in_layer(unit)})
    script = SCRIPT % (to_script(units), ",\n".join(draw), to_script(root))
    body = f'<div class="tln-browser">{_choice(root)}{"".join(panels)}</div>'
    return View(body, script, f"{len(units)} units, by token")


@validated
def spread_units(result: ProbeResult, n: int = 18, *, parts: int = 3) -> pd.DataFrame:
    """Choose the strongest units of each part of the depth, for display.

    The strongest of all tend to lie in the first layers; what units do deep in the model would
    never be seen.

    Parameters
    ----------
    result : ProbeResult
        Whose units.
    n
        How many; fewer if a part has fewer.
    parts
        Into how many parts the layers are cut; at most one per layer, and one per unit.

    Returns
    -------
    DataFrame
        Rows of ``result.top()``, the strongest first.

    Raises
    ------
    TypeError
        Not a result.
    ValueError
        ``parts`` or ``n`` is below 1.

    Examples
    --------
    >>> tln.views.spread_units(result, 3)[["layer", "site", "head", "index"]]
         layer     site  head  index
    104      0  mlp_pre  <NA>     44
    208      1  mlp_pre  <NA>      8
    362      2  mlp_pre  <NA>     22
    """
    if min(parts, n) < 1:
        raise ValueError(f"at least one unit of one part is needed; got {n} of {parts}")
    ranked = result.top(result.columns["status"].numel())
    cuts = np.array_split(result.layers, min(parts, n, len(result.layers)))
    sizes = [n // len(cuts) + (part < n % len(cuts)) for part in range(len(cuts))]
    chosen = [
        ranked.index[ranked["layer"].isin(layers)][:size]
        for layers, size in zip(cuts, sizes, strict=True)
    ]
    return ranked[ranked.index.isin(np.concatenate(chosen))]


def _choice(root: str) -> str:
    """The two lists; hidden until the script has filled them."""
    lists = "".join(
        f'<label>{name} <select id="{root}-{name}"></select></label>' for name in ("layer", "unit")
    )
    return f'<div class="tln-view tln-choice" id="{root}-choice" hidden>{lists}</div>'
