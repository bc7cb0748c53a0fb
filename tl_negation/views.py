"""Text coloured by activations (circuitsvis), made to work offline and with any text.

circuitsvis renders in the browser. Its own Python side loads the script from a public host, or
inlines 1.3 MB of it per view, and puts texts into it unescaped. Here the script is taken from
the installed package, once per page, and nothing in a text can end the script or become HTML.
"""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from jaxtyping import Float

from ._files import whole_file
from .activations import token_activations
from .contexts import Contexts, _decoder

__all__ = ["View", "display_table", "heatmap", "spread_examples", "text_heatmap"]

#: Sky blue and orange of Okabe and Ito's palette: told apart by every reader, and black text is
#: legible on both (contrast above 9).
NEGATIVE, POSITIVE = "#56B4E9", "#E69F00"
#: Colours saturate at this share of |activation|: the first tokens of a window tend to be huge.
SATURATION = 0.98
UNIT = ["layer", "site", "head", "index"]
#: No request may leave a page of ours, whatever the text shown.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
WORD_JOINER = "\u2060"  # invisible, no width

CSS = f"""
.tln-view {{ font: 14px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }}
.tln-view p {{ margin: 0 0 .4em; }}
.tln-scale {{ display: flex; flex-wrap: wrap; gap: .2em .6em; align-items: center;
  font-size: 13px; margin-bottom: .8em; }}
.tln-bar {{ width: 10em; height: .9em; border: 1px solid #767676;
  background: linear-gradient(to right, {NEGATIVE}, #fff, {POSITIVE}); }}
.tln-row {{ border-top: 1px solid #ddd; padding: .5em 0 .3em; }}
.tln-label {{ font-size: 12.5px; color: #404040; }}
.tln-tokens {{ font: 12.5px/1.6 ui-monospace, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }}
.tln-tokens mark {{ outline: 2px solid #1a1a1a; background: none; font-weight: 700; }}
@media print {{ .tln-row {{ break-inside: avoid; }}
  .tln-bar, .tln-tokens span {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }} }}
"""


@dataclass(frozen=True)
class View:
    """Something circuitsvis draws: shown by a notebook, saved as a page, or put into one.

    Attributes
    ----------
    body
        HTML of the view, with the bare text where the drawing goes (what a reader without
        JavaScript sees).
    script
        JavaScript that draws it; needs circuitsvis (:func:`page_script`) on the page.
    title
        One line, plain text.
    """

    body: str
    script: str
    title: str

    @property
    def html(self) -> str:
        """A whole page that needs nothing from anywhere."""
        return (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            "<meta name='viewport' content='width=device-width'><link rel='icon' href='data:,'>"
            f"<title>{html.escape(self.title)}</title>"
            f"<style>body {{ margin: 12px; background: #fff; }}{CSS}</style></head><body>"
            f"<main>{self.body}</main><script>{page_script()}</script>"
            f"<script>{self.script}</script></body></html>"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page; returns its path."""
        with whole_file(path) as file:
            file.write_text(self.html, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        """Frame the page, so that views of one notebook do not get into each other's way."""
        fit = "this.style.height = this.contentDocument.documentElement.scrollHeight + 24 + 'px'"
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="{html.escape(self.title)}" '
            f'onload="setTimeout(() => {{ {fit} }}, 400)" '
            'style="width: 100%; height: 480px; border: 0; background: #fff"></iframe>'
        )

    def __repr__(self) -> str:
        return f"View({self.title}; .save(path) writes it as a page)"


def text_heatmap(
    model: Any,
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


def display_table(
    model: Any,
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
        window's tokens as text) and ``values`` (the unit's activation at each).
    """
    if not isinstance(units, pd.DataFrame):
        raise TypeError(f"units must be a table such as result.top(1); got {type(units).__name__}")
    missing = [name for name in UNIT if name not in units]
    if missing or units.empty:
        raise ValueError(
            f"units needs rows and the columns {', '.join(UNIT)}; it has {len(units)} rows and "
            f"lacks {', '.join(missing) or 'no column'}"
        )
    chosen = spread_examples(contexts, n) if examples is None else [int(i) for i in examples]
    if not chosen:
        raise ValueError("no example was asked for; leave `examples` out to have some chosen")
    values = token_activations(model, contexts, units, chosen).cpu().double().numpy()
    decode = _decoder(model.tokenizer)
    texts = [[decode(token) for token in row] for row in contexts.tokens[chosen].tolist()]
    rows = units[UNIT].loc[units.index.repeat(len(chosen))].reset_index(drop=True)
    return rows.assign(
        example=chosen * len(units),
        tokens=texts * len(units),
        values=list(values.reshape(len(rows), -1)),
    )


def spread_examples(contexts: Contexts, n: int = 10, seed: int = 0) -> list[int]:
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
    title = f"{_unit_name(display.iloc[0])}{' and others' if several else ''}, by token"
    return heatmap_from_values(
        [list(tokens) for tokens in display["tokens"]],
        [np.asarray(values, float) for values in display["values"]],
        labels,
        target=contexts.before,
        title=title,
    )


def heatmap_from_values(
    tokens: Sequence[Sequence[str]],
    values: Sequence[Float[np.ndarray, "pos"]],
    labels: Sequence[str],
    *,
    target: int,
    title: str,
) -> View:
    """Draw rows of tokens coloured by values: no model, no contexts.

    Parameters
    ----------
    tokens, values, labels
        A row each: texts, numbers (NaN stays white) and one line of plain text.
    target
        Position of the token to outline.
    title
        Plain text.

    Raises
    ------
    ValueError
        A row has not as many values as tokens.
    """
    limit = _limit(values)
    body, calls = [_legend(limit)], []
    for text, numbers, label in zip(tokens, values, labels, strict=True):
        if len(text) != len(numbers):
            raise ValueError(
                f"Length of values ({len(numbers)}) does not match number of tokens ({len(text)})"
            )
        name = f"tln-{uuid4().hex}"
        body.append(_row_html(name, text, target, label))
        calls.append(_row_call(name, text, numbers, limit))
    css = f".tln-tokens .colored-tokens > span:nth-of-type({target + 1}) > span"
    style = "outline: 2px solid #1a1a1a; font-weight: 700; position: relative; z-index: 1;"
    mark = f"<style>{css} {{ {style} }}</style>"
    return View(f'<div class="tln-view">{mark}{"".join(body)}</div>', "\n".join(calls), title)


@cache
def page_script() -> str:
    """Read the installed circuitsvis' script, to stand once in a page's script element."""
    script = files("circuitsvis").joinpath("dist/cdn/iife.js").read_text(encoding="utf-8")
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")  # React's strings
    return script[: script.rfind("//# sourceMappingURL")]  # no request for the map


def to_script(value: Any) -> str:
    """JSON that no text in it can make end the script element it stands in.

    Raises
    ------
    ValueError
        A number that JSON has not (NaN, infinity).
    """
    escapes = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(escapes)


def _limit(values: Sequence[np.ndarray]) -> float:
    every = np.abs(np.concatenate(list(values)))
    every = every[np.isfinite(every)]
    limit = float(np.quantile(every, SATURATION)) if every.size else 0.0
    return limit or 1.0


def _legend(limit: float) -> str:
    return (
        f'<div class="tln-scale"><span>activation: -{limit:.3g}</span>'
        '<span class="tln-bar" role="img" aria-label="blue is negative, white zero, orange '
        f'positive"></span><span>+{limit:.3g}</span><span>one scale for all rows; stronger '
        "ones have the end colour. The target is outlined. Point at a token for its value."
        "</span></div>"
    )


def _row_html(name: str, tokens: Sequence[str], target: int, label: str) -> str:
    shown = [html.escape(_visible(token)) for token in tokens]
    if target < len(shown):
        shown[target] = f"<mark>{shown[target]}</mark>"
    return (
        f'<div class="tln-row"><p class="tln-label">{html.escape(label)}</p>'
        f'<div class="tln-tokens" id="{name}">{"".join(shown)}</div></div>'
    )


def _row_call(name: str, tokens: Sequence[str], values: np.ndarray, limit: float) -> str:
    props = {
        "tokens": [_inert(_visible(token)) for token in tokens],
        "values": [float(f"{v:.4g}") if np.isfinite(v) else None for v in values],
        "minValue": -limit,
        "maxValue": limit,
        "negativeColor": NEGATIVE,
        "positiveColor": POSITIVE,
        "paddingBottom": 0,
    }
    return f"CircuitsVis.render({to_script(name)}, CircuitsVis.ColoredTokens, {to_script(props)});"


def _visible(token: str) -> str:
    """Show a line end as a sign: circuitsvis breaks the line for each, and shows nothing."""
    return token.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵")


def _inert(token: str) -> str:
    """Keep the token from becoming HTML: circuitsvis assigns it to innerHTML.

    "<" and "&" begin markup only with a letter or sign right behind them. An entity would do
    as well, but would show as such in the tooltip.
    """
    return token.replace("<", f"<{WORD_JOINER}").replace("&", f"&{WORD_JOINER}")


def _unit_name(row: Any) -> str:
    return f"layer {row['layer']}, {row['site']}, head {row['head']}, unit {row['index']}"


def _row_label(row: Any, contexts: Contexts, *, several: bool) -> str:
    example = contexts.examples.iloc[int(row["example"])]
    at_target = f"{float(row['values'][contexts.before]):+.3g}"
    where = f"{_unit_name(row)} · " if several else ""
    return (
        f"{where}{example['group']}: {example['word']} · context {row['example']} · "
        f"{at_target} at the target"
    )
