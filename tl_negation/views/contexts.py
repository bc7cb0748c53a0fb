"""Units over the tokens of contexts, or of any text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from .._shared import Seed, prepends_bos, validated
from .._shared import decoder as _decoder
from ..activations import collect, token_activations
from ..corpus import NEGATION, Contexts
from ..models import UNIT, TransformerLensModel, unit_name, unit_of
from ..probing import ProbeResult
from .page import View, heatmap_from_values


@validated
def text_heatmap(
    model: TransformerLensModel,
    contexts: Contexts,
    units: Any,
    *,
    examples: Sequence[int] | None = None,
    n: int = 10,
) -> View:
    """Show contexts with every token coloured by a unit's activation, the target outlined.

    Parameters
    ----------
    model
        The TransformerLens model; it runs again, over the shown contexts only.
    contexts
        From :func:`tl_negation.find_contexts`.
    units : DataFrame
        One or several rows of ``result.top()`` or ``result.to_frame()``.
    examples
        Which contexts, by position. By default :func:`spread_examples` chooses ``n``.
    n
        How many to choose.

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
        ``units`` is empty or lacks a column; ``n`` is below 2; no example.
    IndexError
        An example that does not exist.

    Notes
    -----
    A handful of contexts illustrates; it is no evidence. What a unit does at tokens other than
    the target was not tested.
    """
    return heatmap(display_table(model, contexts, units, examples=examples, n=n), contexts)


@validated
def display_table(
    model: TransformerLensModel,
    contexts: Contexts,
    units: Any,
    *,
    examples: Sequence[int] | None = None,
    n: int = 10,
) -> pd.DataFrame:
    """Collect what :func:`heatmap` draws: parameters and errors of :func:`text_heatmap`.

    Returns
    -------
    DataFrame
        A row per unit and context: ``layer, site, head, index, example``, ``tokens`` (the
        window's tokens as text) and ``values`` (the unit's activation at each; NaN at BOS).
    """
    if not isinstance(units, pd.DataFrame):
        raise TypeError(f"units must be a table such as result.top(1); got {type(units).__name__}")
    missing = [name for name in UNIT if name not in units]
    if missing or units.empty:
        raise ValueError(
            f"units needs rows and the columns {', '.join(UNIT)}; it has {len(units)} rows and "
            f"lacks {', '.join(missing) or 'no column'}"
        )
    chosen = chosen_examples(contexts, examples, n)
    values = token_activations(model, contexts, units, chosen).cpu().double().numpy()
    if contexts.prepend_bos:  # the same in every context, and so large that it sets the scale
        values[..., 0] = np.nan
    texts = token_texts(model.tokenizer, contexts.tokens[chosen])
    rows = units[UNIT].loc[units.index.repeat(len(chosen))].reset_index(drop=True)
    return rows.assign(
        example=chosen * len(units),
        tokens=texts * len(units),
        values=list(values.reshape(len(rows), -1)),
    )


def chosen_examples(contexts: Contexts, examples: Sequence[int] | None, n: int) -> list[int]:
    """Give the examples that were asked for, or ``n`` of :func:`spread_examples`.

    Raises
    ------
    ValueError
        None was asked for; ``n`` is below 2.
    IndexError
        An example that does not exist.
    """
    chosen = spread_examples(contexts, n) if examples is None else [int(i) for i in examples]
    if not chosen:
        raise ValueError("no example was asked for; leave `examples` out to have some chosen")
    outside = [example for example in chosen if not 0 <= example < len(contexts)]
    if outside:
        raise IndexError(f"example must be between 0 and {len(contexts) - 1}, got {outside[0]}")
    return chosen


def token_texts(tokenizer: Any, tokens: Int[Tensor, "example pos"]) -> list[list[str]]:
    """Decode each token by itself."""
    decode = _decoder(tokenizer)
    return [[decode(token) for token in row] for row in tokens.tolist()]


@validated
def spread_examples(contexts: Contexts, n: int = 10, seed: Seed = 0) -> list[int]:
    """Choose ``n`` contexts: half of each class, its words in turn, each drawn at random.

    Going through the words, frequent ones first, shows whether a unit knows more than the one
    or two that make up most of a class.

    Raises
    ------
    ValueError
        ``n`` is below 2.
    """
    if n < 2:
        raise ValueError(f"at least 2 contexts are needed, one of each class; got n = {n}")
    rng = np.random.default_rng(seed)
    chosen = []
    for label in (1, 0):
        rows = contexts.examples.reset_index(drop=True)
        rows = rows[rows["label"] == label].sample(frac=1, random_state=rng)
        rows = rows.assign(
            turn=rows.groupby("word").cumcount(),
            count=rows.groupby("word")["word"].transform("size"),
        ).sort_values(["turn", "count", "word"], ascending=[True, False, True], kind="stable")
        chosen += rows.index[: n // 2].tolist()
    return chosen


@validated
def heatmap(display: pd.DataFrame, contexts: Contexts) -> View:
    """Draw a table of :func:`display_table` (``result.display``) as :func:`text_heatmap` does.

    Raises
    ------
    ValueError
        The table is empty or lacks a column, or a row has not as many values as tokens.
    """
    missing = [name for name in (*UNIT, "example", "tokens", "values") if name not in display]
    if missing or display.empty:
        raise ValueError(
            f"the table needs rows and the columns of display_table(); it has {len(display)} "
            f"rows and lacks {', '.join(missing) or 'no column'}"
        )
    several = len(display[UNIT].drop_duplicates()) > 1
    labels = [_row_label(row, contexts, several=several) for row in display.to_dict("records")]
    title = f"{name_of(display.iloc[0])}{' and others' if several else ''}, by token"
    return heatmap_from_values(
        [list(tokens) for tokens in display["tokens"]],
        [np.asarray(values, float) for values in display["values"]],
        labels,
        target=contexts.before,
        title=title,
    )


@validated
def top_contexts(model: TransformerLensModel, result: Any, where: Any, *, n: int = 5) -> View:
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

    Returns
    -------
    View
        The activation at the target decides; the largest first, then the smallest.

    Raises
    ------
    TypeError
        Not a result; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        No such unit; ``n`` is below 1 or more than half of the contexts.

    Notes
    -----
    In the spirit of Neuroscope (Nanda 2022). The ends of a distribution say little about its
    middle: what the top contexts share may be rare among the others.
    """
    if not isinstance(result, ProbeResult):
        raise TypeError(f"top_contexts needs a ProbeResult; got {type(result).__name__}")
    row, column = unit_of(result.sites, result.layers, where)
    if not 1 <= n <= len(result.contexts) // 2:
        raise ValueError(
            f"n must lie between 1 and half of the {len(result.contexts)} contexts; got {n}"
        )
    n_units = len(result.columns["status"][0])
    unit = result.to_frame().iloc[[row * n_units + column]]
    order = np.argsort(-_at_target(model, result, unit, row, column), kind="stable")
    chosen = [*order[:n].tolist(), *order[::-1][:n].tolist()]
    ranks = [f"{i + 1}. {end}" for end in ("largest", "smallest") for i in range(n)]
    display = display_table(model, result.contexts, unit, examples=chosen).assign(rank=ranks)
    return replace(
        heatmap(display, result.contexts),
        title=f"{name_of(unit.iloc[0])}: contexts with the largest and smallest activations",
    )


def _at_target(
    model: TransformerLensModel, result: ProbeResult, unit: pd.DataFrame, row: int, column: int
) -> np.ndarray:
    if result.activations is not None:
        return result.activations.values[row, :, column].cpu().double().numpy()
    one = unit.iloc[0]
    layers = [int(one["layer"])]
    acts = collect(model, result.contexts, [one["site"]], layers=layers, progress=False)
    index = one["head"] * acts.sites[0].d_head + one["index"]
    return acts.values[0, :, index].cpu().double().numpy()


@validated
def over_text(
    model: TransformerLensModel, text: str | list[str] | tuple[str, ...], units: pd.DataFrame
) -> View:
    """Show a unit's activation at every token of any text: *rusty, dead, corroded*.

    Parameters
    ----------
    model
        The TransformerLens model.
    text : str or sequence of str
        One text or several, each read by itself, behind BOS if the model's tokenizer puts
        it in front (:func:`tl_negation.find_contexts`).
    units : DataFrame
        One or several rows of ``result.top()`` or ``result.to_frame()``.

    Returns
    -------
    View
        A row per unit and text, on one colour scale.

    Raises
    ------
    TypeError
        The text is no string; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        No text, a text without a token, or one longer than the model's context; or ``units`` as
        in :func:`text_heatmap`.

    Notes
    -----
    The first token of a text tends to have activations of its own; put words before the one that
    is meant. What a unit does at words of neither list was not tested.
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError("over_text needs a text; got none")
    tables = [_typed(model, one, units).assign(text=i + 1) for i, one in enumerate(texts)]
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
        title=f"{name_of(rows[0])}{' and others' * several}, over a text",
    )


def _typed(model: TransformerLensModel, text: Any, units: pd.DataFrame) -> pd.DataFrame:
    """One typed text as a context of its own."""
    if not isinstance(text, str):
        raise TypeError(f"over_text reads strings; got {type(text).__name__}")
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(f"the text {text!r} has no token")
    bos = prepends_bos(model.tokenizer)
    tokens = torch.tensor([[model.tokenizer.bos_token_id] * bos + ids])
    source = {"source": "typed", "prepend_bos": bos}
    alone = Contexts(tokens, pd.DataFrame(index=[0]), int(bos), NEGATION, source)
    return display_table(model, alone, units, examples=[0])


def name_of(row: Any) -> str:
    """Name a unit by layer, site, head and index."""
    return f"layer {row['layer']}, {unit_name(row['site'], row['head'], row['index'])}"


def _row_label(row: Any, contexts: Contexts, *, several: bool) -> str:
    example = contexts.examples.iloc[int(row["example"])]
    at_target = f"{float(row['values'][contexts.before]):+.3g}"
    where = f"{name_of(row)} · " if several else ""
    where += f"{row['rank']} · " if "rank" in row else ""
    return (
        f"{where}{example['group']}: {example['word']} · context {row['example']} · "
        f"{at_target} at the target"
    )
