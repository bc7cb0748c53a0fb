"""Units over the tokens of contexts, or of any text."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from reprlib import repr as short
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from .._shared import prepends_bos, table, validated
from ..activations import Features, collect, token_activations
from ..corpus import COLUMNS, NEGATION, Contexts
from ..models import UNIT, TransformerLensModel, head_number, unit_name, unit_of
from ..probing import ProbeResult, result_of
from .examples import chosen_examples, token_texts
from .page import View, heatmap_from_values

#: Columns of :func:`display_table`.
DISPLAY = (*UNIT, "example", "tokens", "values")
#: A table with a row per unit.
Units = Annotated[pd.DataFrame, table(*UNIT, cure="result.top(1) gives one")]
Display = Annotated[
    pd.DataFrame, table(*DISPLAY, cure="display_table(model, contexts, units) gives one")
]


@validated
def text_heatmap(
    model: TransformerLensModel,
    contexts: Contexts | pd.DataFrame,
    units: Units | None = None,
    *,
    examples: Sequence[int] | None = None,
    n: int = 10,
    features: Features = None,
) -> View:
    """Show contexts with every token coloured by a unit's activation, the target outlined.

    Parameters
    ----------
    model
        The TransformerLens model; it runs again, over the shown contexts only.
    contexts
        From :func:`tl_negation.find_contexts`. May be left out before units that come from a
        result which is still held: ``text_heatmap(model, result.top(1))``.
    units : DataFrame
        One or several rows of ``result.top()`` or ``result.to_frame()``.
    examples
        Which contexts, by position. By default :func:`spread_examples` chooses ``n``.
    n
        How many to choose.
    features
        What makes the features among the units, as in :func:`tl_negation.collect`.

    Returns
    -------
    View
        A row per unit and context. One colour scale for all rows: blue is negative, white is
        zero, orange is positive.

    Raises
    ------
    TypeError
        ``units`` is not a table; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        ``units`` is empty or lacks a column; ``n`` is below 2; an empty list of examples.
    IndexError
        An example that does not exist.

    Notes
    -----
    A handful of contexts illustrates something; it is not evidence. What a unit does at tokens
    other than the target was not tested.

    Examples
    --------
    >>> view = tln.views.text_heatmap(model, contexts, result.top(1), n=4)
    >>> view
    View(layer 0, mlp_pre, unit 44, by token; .save(path) writes it as a page)
    >>> view.body.count("<mark>")  # the target of every context
    4
    """
    if isinstance(contexts, pd.DataFrame):
        units = contexts if units is None else units
        contexts = result_of(contexts).contexts
    if units is None:
        raise TypeError("text_heatmap needs units: one or several rows of result.top()")
    table = display_table(model, contexts, units, examples=examples, n=n, features=features)
    return heatmap(table, contexts)


@validated
def display_table(
    model: TransformerLensModel,
    contexts: Contexts,
    units: Units,
    *,
    examples: Sequence[int] | None = None,
    n: int = 10,
    features: Features = None,
) -> pd.DataFrame:
    """Collect what :func:`heatmap` draws: parameters and errors of :func:`text_heatmap`.

    Returns
    -------
    DataFrame
        A row per unit and context: ``layer, site, head, index, example``, ``tokens`` (the
        window's tokens as text) and ``values`` (the unit's activation at each; NaN at BOS, and
        where a shorter example has no token).

    Examples
    --------
    >>> table = tln.views.display_table(model, contexts, result.top(1), examples=[13])
    >>> table["tokens"].iloc[0][contexts.before]  # the target
    ' can'
    >>> table["values"].iloc[0].round(1)
    array([2.1, 2.9, 3. , 1.7, 4.1, 0.6, 1.6, 1.9, 1.2])
    """
    chosen = chosen_examples(contexts, examples, n)
    acts = token_activations(model, contexts, units, chosen, features=features)
    values = acts.cpu().double().numpy()
    if contexts.prepend_bos:  # the same in every context, and so large that it sets the scale
        values[:, np.arange(len(chosen)), contexts.spans[chosen, 0].numpy()] = np.nan
    texts = token_texts(model.tokenizer, contexts.tokens[chosen])
    rows = units[UNIT].loc[units.index.repeat(len(chosen))].reset_index(drop=True)
    rows.attrs.clear()  # which result the units are of is no part of what is kept in a run
    return rows.assign(
        example=chosen * len(units),
        tokens=texts * len(units),
        values=list(values.reshape(len(rows), -1)),
    )


@validated
def heatmap(display: Display, contexts: Contexts) -> View:
    """Draw a table of :func:`display_table` (``result.display``) as :func:`text_heatmap` does.

    Parameters
    ----------
    display : DataFrame
        A row per unit and context.
    contexts
        Those that the table was made of.

    Returns
    -------
    View
        As of :func:`text_heatmap`. A column ``rank``, if there is one, is part of the labels.

    Raises
    ------
    TypeError
        Not a table.
    ValueError
        The table is empty or lacks a column; a row with fewer or more values than tokens.

    Examples
    --------
    >>> table = tln.views.display_table(model, contexts, result.top(2), n=2)
    >>> tln.views.heatmap(table, contexts)
    View(layer 0, mlp_pre, unit 44 and others, by token; .save(path) writes it as a page)
    """
    several = len(display[UNIT].drop_duplicates()) > 1
    labels = [_row_label(row, contexts, several=several) for row in display.to_dict("records")]
    title = f"{name_of(display.iloc[0])}{' and others' if several else ''}, by token"
    spans = contexts.spans[torch.tensor(display["example"].tolist(), device="cpu")].tolist()
    rows = list(zip(display["tokens"], display["values"], spans, strict=True))
    return heatmap_from_values(
        [list(tokens)[first:last] for tokens, _, (first, last) in rows],
        [np.asarray(values, float)[first:last] for _, values, (first, last) in rows],
        labels,
        target=[contexts.before - first for first, _ in spans],
        title=title,
    )


@validated
def top_contexts(
    model: TransformerLensModel,
    result: ProbeResult,
    where: pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Any],
    *,
    n: int = 5,
    features: Features = None,
) -> View:
    """Show the contexts in which a unit is largest, and those in which it is smallest.

    Parameters
    ----------
    model
        The TransformerLens model; it runs again, over the shown contexts (over all, up to the
        unit's layer, if the result was read from disk).
    result : ProbeResult
        With the contexts to choose from.
    where
        A row of ``result.top()`` or ``result.to_frame()``, or (layer, site, head, index).
    n
        How many at either end.
    features
        What makes the features, if the unit is one: as in :func:`tl_negation.collect`.

    Returns
    -------
    View
        Ordered by the activation at the target: the largest first, then the smallest.

    Raises
    ------
    TypeError
        Not a result; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        A unit that does not exist; ``n`` is below 1 or more than half of the contexts.

    Notes
    -----
    In the spirit of Neuroscope (Nanda 2022). The ends of a distribution say little about its
    middle: what the top contexts share may be rare among the others.

    Examples
    --------
    >>> view = tln.views.top_contexts(model, result, result.top(1), n=1)
    >>> view.title
    'layer 0, mlp_pre, unit 44: contexts with the largest and smallest activations'
    """
    row, column = unit_of(result.sites, result.layers, where)
    if not 1 <= n <= len(result.contexts) // 2:
        raise ValueError(
            f"n must lie between 1 and half of the {len(result.contexts)} contexts; got {n}"
        )
    n_units = len(result.columns["status"][0])
    unit = result.to_frame().iloc[[row * n_units + column]]
    at_target = _at_target(model, result, unit, row, column, features)
    order = np.argsort(-at_target, kind="stable")
    chosen = [*order[:n].tolist(), *order[::-1][:n].tolist()]
    ranks = [f"{i + 1}. {end}" for end in ("largest", "smallest") for i in range(n)]
    shown = display_table(model, result.contexts, unit, examples=chosen, features=features)
    display = shown.assign(rank=ranks)
    return replace(
        heatmap(display, result.contexts),
        title=f"{name_of(unit.iloc[0])}: contexts with the largest and smallest activations",
    )


def _at_target(
    model: TransformerLensModel,
    result: ProbeResult,
    unit: pd.DataFrame,
    row: int,
    column: int,
    features: Features,
) -> Float[np.ndarray, " example"]:
    """A unit's activation at the target of every context."""
    if result.activations is not None:
        return result.activations.values[row, :, column].cpu().double().numpy()
    first = unit.iloc[0]
    layers = [int(first["layer"])]
    made = {name: of for name, of in (features or {}).items() if name == first["site"]}
    sites = [made[first["site"]][0] if made else first["site"]]
    acts = collect(
        model, result.contexts, sites, layers=layers, features=made or None, progress=False
    )
    site = acts.site(first["site"])
    return (
        site[0, :, head_number(first["head"]) * acts.sites[-1].d_head + first["index"]]
        .cpu()
        .double()
        .numpy()
    )


def _check_texts(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a string or a list of strings."""
    texts = isinstance(value, Sequence) and all(isinstance(text, str) for text in value)
    if not texts:
        raise TypeError(f"{name} must be a string or a list of strings; got {short(value)}")


@validated
def over_text(
    model: TransformerLensModel,
    text: Annotated[str | Sequence[str], _check_texts],
    units: Units,
    *,
    features: Features = None,
) -> View:
    """Show a unit's activation at every token of any text: *rusty, dead, corroded*.

    Parameters
    ----------
    model
        The TransformerLens model.
    text : str or sequence of str
        One text or several, each read by itself, after BOS if the model's tokenizer begins a text
        with it (:func:`tl_negation.find_contexts`).
    units : DataFrame
        One or several rows of ``result.top()`` or ``result.to_frame()``.
    features
        What makes the features among the units, as in :func:`tl_negation.collect`.

    Returns
    -------
    View
        A row per unit and text, on one colour scale.

    Raises
    ------
    TypeError
        Something other than text; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        No text, a text without a token, or one longer than the model's context; or ``units`` as
        in :func:`text_heatmap`.

    Notes
    -----
    The first token of a text tends to have activations of its own, and does not count for the
    colour scale; put words before the one that you mean. What a unit does at words of neither list
    was not tested.

    Examples
    --------
    >>> tln.views.over_text(model, ["You may know", "I cannot"], result.top(1))
    View(layer 0, mlp_pre, unit 44, over a text; .save(path) writes it as a page)
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError("over_text needs a text; got none")
    tables = [
        _typed(model, typed, units, features).assign(text=i + 1) for i, typed in enumerate(texts)
    ]
    rows = pd.concat(tables).to_dict("records")
    several = len(units) > 1
    labels = [
        f"{name_of(row)} · " * several + f"text {row['text']} of {len(texts)}" for row in rows
    ]
    return heatmap_from_values(
        [row["tokens"] for row in rows],
        [np.asarray(row["values"], float) for row in rows],
        labels,
        target=None,
        scale_from=1,
        title=f"{name_of(rows[0])}{' and others' * several}, over a text",
    )


def _typed(
    model: TransformerLensModel, text: str, units: pd.DataFrame, features: Features
) -> pd.DataFrame:
    """The display table of a typed text, as a context of its own."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(f"the text {text!r} has no token")
    bos = prepends_bos(model.tokenizer)
    tokens = torch.tensor([[model.tokenizer.bos_token_id] * bos + ids], device="cpu")
    source = {"source": "typed", "prepend_bos": bos}
    row = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(("word", "surface", "token"), "")
    # It is of no class, but has to say one: only its tokens are run.
    row |= {"group": NEGATION.groups[0], "passage": text, "in_boilerplate": False}
    alone = Contexts(tokens, pd.DataFrame([row]), int(bos), NEGATION, source)
    return display_table(model, alone, units, examples=[0], features=features)


def name_of(row: Mapping[Hashable, Any] | pd.Series) -> str:
    """Name a unit by layer, site, head and index."""
    return f"layer {row['layer']}, {name_in_layer(row)}"


def name_in_layer(row: Mapping[Hashable, Any] | pd.Series) -> str:
    """Name a unit by site, head and index."""
    return unit_name(str(row["site"]), row["head"], int(row["index"]))


def _row_label(row: Mapping[Hashable, Any], contexts: Contexts, *, several: bool) -> str:
    example = contexts.examples.iloc[int(row["example"])]
    at_target = f"{float(row['values'][contexts.before]):+.3g}"
    where = f"{name_of(row)} · " if several else ""
    where += f"{row['rank']} · " if "rank" in row else ""
    return (
        f"{where}{example['group']}: {example['word']} · context {row['example']} · "
        f"{at_target} at the target"
    )
