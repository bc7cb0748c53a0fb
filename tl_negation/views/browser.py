"""Choose a layer and a unit, and see it in text."""

import html
from typing import Any
from uuid import uuid4

from ..results import ProbeResult
from ._page import View, to_script
from .contexts import UNIT, display_table, heatmap

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
    units.forEach((one, i) => { if (one.layer === Number(layer.value)) add(unit, i, one.name); });
    show();
  };
  const layers = [...new Set(units.map((one) => one.layer))].sort((a, b) => a - b);
  layers.forEach((one) => add(layer, one, one));
  layer.value = units[0].layer;
  layer.addEventListener("change", fill);
  unit.addEventListener("change", show);
  fill();
  part("choice").hidden = false;
})();"""


def unit_browser(result: Any, *, model: Any = None, n: int = 20, contexts: int = 10) -> View:
    """Choose among the strongest units by layer and name, and see each in text.

    Parameters
    ----------
    result : ProbeResult
        Whose units.
    model
        The TransformerLens model, to show the ``n`` units of ``result.top(n)``; without it, the
        units that :func:`tl_negation.scan` kept in ``result.display``.
    n
        How many units; only with a model.
    contexts
        In how many contexts (:func:`spread_examples`); only with a model.

    Returns
    -------
    View
        Two lists, the layer and the unit, above a heat map as of :func:`text_heatmap`. Each unit
        has a colour scale of its own. Without JavaScript all units are there as plain text.

    Raises
    ------
    TypeError
        Not a result; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        No model, and a result that kept nothing to show.
    """
    if not isinstance(result, ProbeResult):
        raise TypeError(f"unit_browser needs a ProbeResult; got {type(result).__name__}")
    display = result.display
    if model is not None:
        display = display_table(model, result.contexts, result.top(n), n=contexts)
    if display is None:
        raise ValueError(
            "this result kept no activations over whole windows: give the model, "
            "unit_browser(result, model=model), or scan with tl_negation.scan"
        )
    root, units, panels, draw = f"tln-{uuid4().hex}", [], [], []
    for key, rows in display.groupby(UNIT, sort=False, observed=True):
        layer, site, head, index = key
        view = heatmap(rows, result.contexts)
        name = f"{site}, head {head}, unit {index}"
        head_line = f"<h3>{html.escape(f'layer {layer}, {name}')}</h3>"
        panels.append(f'<section id="{root}-{len(units)}">{head_line}{view.body}</section>')
        draw.append(f"() => {{\n{view.script}\n}}")
        units.append({"layer": int(layer), "name": name})
    script = SCRIPT % (to_script(units), ",\n".join(draw), to_script(root))
    return View(f"{_choice(root)}{''.join(panels)}", script, f"{len(units)} units, by token")


def _choice(root: str) -> str:
    lists = "".join(
        f'<label>{name} <select id="{root}-{name}"></select></label>' for name in ("layer", "unit")
    )
    return f'<div class="tln-view tln-choice" id="{root}-choice" hidden>{lists}</div>'
