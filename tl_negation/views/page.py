"""A page that circuitsvis draws on, and its tokens coloured by numbers: no model, no contexts."""

import hashlib
import html
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import numpy as np

from .._shared import expanded, sequence, validated, whole_file

#: Sky blue and orange of Okabe and Ito's palette: every reader can tell them apart, and black text
#: is legible on both (contrast above 9).
NEGATIVE, POSITIVE = "#56B4E9", "#E69F00"
#: Colours saturate at this share of |activation|: the first tokens of a window tend to be huge.
SATURATION = 0.98
WORD_JOINER = "\u2060"  # invisible, no width

CSS = f"""
.tln-view {{ font: 14px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }}
.tln-view p {{ margin: 0 0 .4em; }}
.tln-scale {{ display: flex; flex-wrap: wrap; gap: .2em .6em; align-items: center;
  font-size: 13px; margin-bottom: .8em; }}
.tln-bar {{ width: 10em; height: .9em; border: 1px solid #767676;
  background: linear-gradient(to right, {NEGATIVE}, #fff, {POSITIVE}); }}
.tln-up {{ background: linear-gradient(to right, #fff, {POSITIVE}); }}
.tln-row {{ border-top: 1px solid #ddd; padding: .5em 0 .3em; }}
.tln-label {{ font-size: 12.5px; color: #404040; }}
.tln-tokens {{ font: 12.5px/1.6 ui-monospace, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }}
.tln-tokens mark {{ outline: 2px solid #1a1a1a; background: none; font-weight: 700; }}
.tln-choice {{ display: flex; flex-wrap: wrap; gap: .4em 1.2em; margin-bottom: .9em; }}
.tln-choice select {{ font: inherit; padding: .15em .4em; max-width: 100%; }}
.tln-scroll {{ overflow-x: auto; }}
/* circuitsvis writes white on a token's colour, however light the attention makes it */
.tln-scroll button {{ color: #111 !important;
  background-image: linear-gradient(#ffffff8c, #ffffff8c) !important; }}
@media print {{ .tln-row {{ break-inside: avoid; }}
  .tln-bar, .tln-tokens span {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }} }}
"""


def policy(scripts: Iterable[str]) -> str:
    """Write a page's content security policy: these scripts run, no other does, nothing is loaded.

    Whatever text the page shows, no request leaves it.

    Parameters
    ----------
    scripts
        The content of each script element, to the last character.

    Examples
    --------
    >>> print(tln.views.policy(["1 + 1"]))  # doctest: +ELLIPSIS
    default-src 'none'; script-src 'sha256-...='; style-src 'unsafe-inline'; img-src data:
    """
    digests = [hashlib.sha256(script.encode("utf-8", "backslashreplace")) for script in scripts]
    allowed = " ".join(f"'sha256-{b64encode(digest.digest()).decode()}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


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

    Examples
    --------
    >>> view = tln.views.text_heatmap(model, contexts, result.top(1), n=2)
    >>> view
    View(layer 0, mlp_pre, unit 44, by token; .save(path) writes it as a page)
    >>> view.save("unit.html").name
    'unit.html'
    """

    body: str
    script: str
    title: str

    @property
    def html(self) -> str:
        """A whole page that loads nothing from anywhere."""
        allowed = policy([page_script(), self.script])
        return (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
            "<meta name='viewport' content='width=device-width'><link rel='icon' href='data:,'>"
            f"<title>{html.escape(self.title)}</title>"
            f"<style>body {{ margin: 12px; background: #fff; }}{CSS}</style></head><body>"
            f"<main>{self.body}</main><script>{page_script()}</script>"
            f"<script>{self.script}</script></body></html>"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page.

        Parameters
        ----------
        path
            Of the file; missing folders are made, and an existing file is replaced.

        Returns
        -------
        Path
            Where the page is.
        """
        with whole_file(path) as file:
            file.write_text(self.html, encoding="utf-8", errors="backslashreplace", newline="\n")
        return expanded(path)

    def _repr_html_(self) -> str:
        """Frame the page, so that the views of a notebook do not disturb each other."""
        fit = "this.style.height = this.contentDocument.documentElement.scrollHeight + 24 + 'px'"
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="{html.escape(self.title)}" '
            f'onload="setTimeout(() => {{ {fit} }}, 400)" '
            'style="width: 100%; height: 480px; border: 0; background: #fff"></iframe>'
        )

    def __repr__(self) -> str:
        return f"View({self.title}; .save(path) writes it as a page)"


@validated
def heatmap_from_values(
    tokens: Sequence[Sequence[str]],
    values: Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    target: int | Annotated[Sequence[int], sequence] | None,
    title: str,
    quantity: str = "activation",
    scale_from: int = 0,
) -> View:
    """Draw rows of tokens coloured by your own values: needs no model and no contexts.

    Parameters
    ----------
    tokens, values, labels
        One entry per row: its texts, its numbers (NaN stays white) and one line of plain text.
    target
        Position of the token to outline, in all rows or in each; None for no outline.
    title, quantity
        Plain text: what the view is, and what the numbers are.
    scale_from
        Position of the first token whose value decides the colour scale: the first token of a text
        tends to have values of its own.

    Returns
    -------
    View
        One colour scale for all rows.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        A row with fewer or more values than tokens; not one target for each row.

    Examples
    --------
    >>> rows = {"tokens": [["I", " may", " not"]], "values": [np.array([0.1, -1.2, 3.4])]}
    >>> tln.views.heatmap_from_values(**rows, labels=["mine"], target=2, title="three tokens")
    View(three tokens; .save(path) writes it as a page)
    """
    limit = _limit([row[scale_from:] if len(row) > scale_from else row for row in values])
    signed = any(np.nanmin(row, initial=0) < 0 for row in values)
    body, calls = [_legend(quantity, limit, signed=signed, marked=target is not None)], []
    marked = []
    targets = list(target) if isinstance(target, Sequence) else [target] * len(labels)
    if len(targets) != len(labels):
        raise ValueError(f"one target for each of {len(labels)} rows; got {len(targets)}")
    for text, numbers, label, at in zip(tokens, values, labels, targets, strict=True):
        if len(text) != len(numbers):
            raise ValueError(
                f"Length of values ({len(numbers)}) does not match number of tokens ({len(text)})"
            )
        name = f"tln-{uuid4().hex}"
        body.append(_row_html(name, text, at, label))
        marked += [] if at is None else [(name, at)]
        calls.append(_row_call(name, text, numbers, limit))
    mark = _mark(marked) if marked else ""
    return View(f'<div class="tln-view">{mark}{"".join(body)}</div>', "\n".join(calls), title)


@cache
def page_script() -> str:
    """Read the installed circuitsvis' script, to be put once into a page's script element.

    Returns
    -------
    str
        JavaScript that cannot end the element it is in.

    Examples
    --------
    >>> script = tln.views.page_script()
    >>> len(script) > 10**6, "</script" in script
    (True, False)
    """
    script = files("circuitsvis").joinpath("dist/cdn/iife.js").read_text(encoding="utf-8")
    # Browsers read every line end as \n, and the policy knows a script by its hash.
    script = script.replace("\r\n", "\n").replace("\r", "\n")
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")  # React's strings
    return script[: script.rfind("//# sourceMappingURL")]  # no request for the map


def to_script(value: Any) -> str:
    r"""Write JSON in which no text can end the script element that it is in.

    Parameters
    ----------
    value
        Anything that :func:`json.dumps` takes.

    Returns
    -------
    str
        JSON, also valid JavaScript.

    Raises
    ------
    ValueError
        A number that does not exist in JSON (NaN, infinity).

    Examples
    --------
    >>> print(tln.views.to_script({"text": "</script>"}))
    {"text": "\u003c/script\u003e"}
    """
    escapes = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(escapes)


def _limit(values: Sequence[np.ndarray]) -> float:
    """Where the colours saturate; 1 if all values are 0 or missing."""
    every = np.abs(np.concatenate(list(values)))
    every = every[np.isfinite(every)]
    limit = float(np.quantile(every, SATURATION)) if every.size else 0.0
    return limit or 1.0


def _mark(targets: Iterable[tuple[str, int]]) -> str:
    """Style that outlines the target in what circuitsvis draws, by the names of its elements."""
    css = ", ".join(
        f"#{name} .colored-tokens > span:nth-of-type({target + 1}) > span"
        for name, target in targets
    )
    style = "outline: 2px solid #1a1a1a; font-weight: 700; position: relative; z-index: 1;"
    return f"<style>{css} {{ {style} }}</style>"


def _legend(quantity: str, limit: float, *, signed: bool, marked: bool) -> str:
    kind, low, says = "tln-bar", f"-{limit:.3g}", "blue is negative, white zero, orange positive"
    if not signed:
        kind, low, says = "tln-bar tln-up", "0", "white is zero, orange more"
    return (
        f'<div class="tln-scale"><span>{html.escape(quantity)}: {low}</span>'
        f'<span class="{kind}" role="img" aria-label="{says}"></span>'
        f"<span>+{limit:.3g}</span><span>one scale for all rows; stronger values "
        f"have the end colour. {'The target is outlined. ' * marked}Point at a token, or "
        "tap it, for its value.</span></div>"
    )


def _row_html(name: str, tokens: Sequence[str], target: int | None, label: str) -> str:
    shown = [html.escape(visible(token)) for token in tokens]
    if target is not None and target < len(shown):
        shown[target] = f"<mark>{shown[target]}</mark>"
    return token_line(name, label, "".join(shown))


def token_line(name: str, label: str, shown: str, css: str = "tln-tokens") -> str:
    """HTML of a label above an element that circuitsvis draws into; until then it shows text."""
    return (
        f'<div class="tln-row"><p class="tln-label">{html.escape(label)}</p>'
        f'<div class="{css}" id="{name}">{shown}</div></div>'
    )


def _row_call(name: str, tokens: Sequence[str], values: np.ndarray, limit: float) -> str:
    props = {
        "tokens": [inert(visible(token)) for token in tokens],
        "values": [float(f"{value:.4g}") if np.isfinite(value) else None for value in values],
        "minValue": -limit,
        "maxValue": limit,
        "negativeColor": NEGATIVE,
        "positiveColor": POSITIVE,
        "paddingBottom": 0,
    }
    return f"CircuitsVis.render({to_script(name)}, CircuitsVis.ColoredTokens, {to_script(props)});"


def visible(token: str) -> str:
    """Show a line end as a sign: circuitsvis would break the line there and show nothing."""
    return token.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵")


def inert(token: str) -> str:
    """Keep the token from becoming HTML: circuitsvis assigns it to innerHTML.

    "<" and "&" begin markup only if a letter or sign follows at once. An entity would do as well
    in the text, but the tooltip would show it as it is written.
    """
    return token.replace("<", f"<{WORD_JOINER}").replace("&", f"&{WORD_JOINER}")
