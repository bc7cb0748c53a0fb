"""One self-contained HTML page about a result, to read, print and send around."""

import html
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from markupsafe import Markup

from .. import plots, views
from .._shared import validated, whole_file
from ..fitting import STATUSES
from ..models import SITES, TransformerLensModel, has_heads
from ..probing import WORD_COLUMNS, ProbeResult, explained, profile, trend
from .effects import HINTS as EFFECT_HINTS
from .effects import effects_section
from .gallery import Picture, gallery

#: Rows of the table of units; values of a list that the provenance spells out.
TABLE_UNITS, MOST_VALUES = 100, 40
#: Letters of the values of a table that has room in one row of the provenance.
MOST_LETTERS = 120
#: Narrower than in a notebook: a page shows figures side by side, or on a phone.
FIGURE_INCHES, PHONE_INCHES = 4.6, 3.6
#: Columns that the table of units leaves to units.parquet: they depend on a unit's scale, or
#: another column says the same.
LEFT_OUT = {
    *("beta", "intercept", "se", "z", "p", "lr_p", "score", "score_p", "words_t", "words_p"),
    *("held_out_macro", "cluster_se", "cluster_t"),
    *("firth_intercept", "firth_beta", "firth_se", "firth_lr", "firth_accuracy"),
    "firth_balanced_accuracy",
}
#: Columns that the profile's table leaves out: the same in every row, or only counts of failures.
PROFILE_LEFT_OUT = {*STATUSES, "family", "correction", "alpha", "base_rate"}
#: What headers mean that are not columns of a result.
HINTS = {
    "layer": "number of the layer, from 0",
    "head": "attention head, from 0; none where the site has no heads",
    "index": "index of the unit within its head, or within the site",
    "units": "units of this site in this layer",
    "tested": "units with a valid fit",
    "share_significant": "share of units that pass the named correction",
    "share_significant_positive": "as before, and a larger activation speaks for class 1",
    "accuracy_significant_positive": "mean over those; too high by the selection",
    "accuracy_significant_negative": "mean over significant units with beta below 0",
    "abs_beta_per_sd": "mean size of beta_per_sd",
    "rho": "Spearman's rank correlation with depth",
    "layers": "layers with a value",
}


class Figure(NamedTuple):
    """A figure as inline SVG; ``phone``: the same, for a narrow page, where it must differ."""

    svg: Markup
    phone: Markup | None
    title: str
    caption: str
    more: bool


class Header(NamedTuple):
    """Head of a column."""

    name: str
    hint: str
    is_number: bool


class Cell(NamedTuple):
    """What a cell shows, and what it is sorted by."""

    text: str
    key: str


class Table(NamedTuple):
    """Cells ready for a template."""

    headers: list[Header]
    rows: list[list[Cell]]


@validated
def report(
    result: Any,
    path: str | Path,
    *,
    model: TransformerLensModel | None = None,
    preset: str | None = None,
) -> Path:
    """Write a result as one HTML file that needs nothing from anywhere.

    Parameters
    ----------
    result : ProbeResult
        From :func:`tl_negation.probe`, :func:`tl_negation.scan` or
        :func:`tl_negation.load_result`. Units are drawn by word if it still holds activations.
    path
        The file to write; replaced if it exists.
    model
        The TransformerLens model, to show the strongest units in text; not needed for a result
        of :func:`tl_negation.scan`, which keeps what there is to show.
    preset
        As in :func:`tl_negation.profile`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TypeError
        Not a result; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        An unknown preset, or one that does not fit the result.

    Notes
    -----
    The page says what is *decodable from* units. It does not say what the model uses, nor that
    it is the category rather than the word that is decoded.
    """
    if not isinstance(result, ProbeResult):
        raise TypeError(
            f"a report needs a ProbeResult (probe(acts) or load_result(path)); got "
            f"{type(result).__name__}"
        )
    page = _template().render(_page(result, model, preset))
    with whole_file(path) as file:
        file.write_text(page, encoding="utf-8")
    return Path(path)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tl_negation", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _page(
    result: ProbeResult, model: TransformerLensModel | None, preset: str | None
) -> dict[str, Any]:
    table = profile(result, preset=preset)
    modules = profile(result, preset=preset, by="module")
    audit = result.contexts.counts()
    top = result.top(TABLE_UNITS, full=True)
    return {
        "title": f"{' or '.join(audit['groups'])}?",
        "subject": _subject(result),
        "answer": _answer(result, modules, list(audit["groups"])),
        "caution": _caution(audit, intervened="ablation" in result.tables),
        "summary": result.summary().splitlines() if _over_words(result) else [],
        "tiles": list(_tiles(result, audit)),
        "audit": audit,
        "text": _text_facts(audit),
        "figures": [_figure(picture) for picture in gallery(result, table, preset)],
        "effects": effects_section(result, _figure, _table),
        "profile": _table(table[[name for name in table if not _left_out(name)]]),
        "trends": _table(trend(table)),
        "top": _table(top.drop(columns=[name for name in top if name in LEFT_OUT])),
        "n_units": result.columns["status"].numel(),
        "views": _views(result, model),
        "views_css": Markup(views.CSS),  # noqa: S704 - ours
        "views_script": Markup(views.page_script()),  # noqa: S704 - circuitsvis' own
        "policy": views.POLICY,
        "provenance": list(_provenance(result, preset)),
        "cite": _citation(result),
    }


def _left_out(name: str) -> bool:
    """Whether the profile's table does without a column: bands of the null are in the figure."""
    return name in PROFILE_LEFT_OUT or name.startswith("null_")


def _subject(result: ProbeResult) -> str:
    model, source = result.provenance["model"], result.contexts.source
    about = ", ".join(str(model[name]) for name in ("source", "quantised") if model.get(name))
    return (
        f"{len(result.layers)} layers of {model.get('name', 'a model')}{about and f' ({about})'}, "
        f"sites {', '.join(site.name for site in result.sites)}, on {len(result.contexts):,} "
        f"contexts from {source.get('source', 'a text')}"
    )


def _answer(result: ProbeResult, modules: pd.DataFrame, groups: list[str]) -> list[str]:
    """Two sentences with numbers: example by example, and over words.

    Figures per layer are of the first family of sites.
    """
    passed, units = int(result.columns["significant"].sum()), result.columns["status"].numel()
    rows = modules[modules["site"] == modules["site"].iloc[0]]
    ends = rows.iloc[[0, -1]] if len(rows) > 1 else rows
    shares, right = (_at_layers(ends, name) for name in ("share_significant", "accuracy"))
    return [
        f"{groups[0].capitalize()} or {groups[1]} is decodable from {passed:,} of {units:,} units "
        f"({passed / units:.1%}), each taken alone, example by example (Wald test, "
        f"{plots.rule_text(result.provenance['test'])}): from {shares} of the "
        f"{rows['site'].iloc[0]} units, which on the contexts they were fitted on are right, on "
        f"average, in {right}, where guessing is in {result.base_rate:.1%}.",
        _over_words_answer(result, units),
    ]


def _over_words_answer(result: ProbeResult, units: int) -> str:
    parts = []
    if "significant_words" in result.columns:
        passed = int(result.columns["significant_words"].sum())
        parts.append(f"{passed:,} of {units:,} units are significant when words are the examples")
    if "held_out_accuracy" in result.columns:
        unseen, seen = (
            float(result.columns[name].nanmean())
            for name in ("held_out_accuracy", "balanced_accuracy")
        )
        parts.append(
            f"on words left out of the fit the mean unit is right in {unseen:.1%} (guessing: 50%), "
            f"against {seen:.1%} on the words it was fitted to"
        )
    said = "; ".join(parts) or "whether it is the category or only some of its words was not tested"
    return f"{said[0].upper()}{said[1:]}."


def _at_layers(rows: pd.DataFrame, column: str) -> str:
    known = rows[rows[column].notna()]
    return (
        " and ".join(
            f"{value:.1%} in layer {layer}"
            for value, layer in zip(known[column], known["layer"], strict=True)
        )
        or "no case (no unit has a valid fit)"
    )


def _over_words(result: ProbeResult) -> bool:
    return any(name in WORD_COLUMNS for name in result.columns)


def _caution(audit: Mapping[str, Any], *, intervened: bool) -> list[str]:
    words = [
        f"{group} is {len(of['word_types'])} word{'s' * (len(of['word_types']) != 1)}, "
        f"{of['largest_word_share']:.0%} of it “{of['largest_word']}”"
        for group, of in audit["groups"].items()
    ]
    return [
        "Decodable from is not used by: "
        + ("see what the units do." if intervened else "no intervention was run."),
        f"It may be the word rather than the category: {'; '.join(words)}. With so few words, a "
        "unit that only tells these words apart passes the same test.",
        "Accuracy is in-sample, and higher still where units were selected for being significant.",
    ]


def _tiles(result: ProbeResult, audit: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the key figures: a number, and what it is."""
    sizes = ", ".join(f"{of['examples']:,} {group}" for group, of in audit["groups"].items())
    yield f"{audit['examples']:,}", f"contexts: {sizes}"
    status = result.columns["status"].flatten().cpu().numpy()
    counts = dict(zip(STATUSES, np.bincount(status, minlength=len(STATUSES)), strict=True))
    failed = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n and name != "ok")
    yield f"{counts['ok']:,}", f"units tested of {len(status):,} ({failed or 'none failed'})"
    yield f"{int(result.columns['significant'].sum()):,}", "units significant"
    yield f"{result.base_rate:.1%}", "base rate: guessing the larger class"


def _documents(audit: Mapping[str, Any]) -> str | None:
    of = audit.get("documents", {"number": 1})
    if of["number"] == 1:
        return None
    return (
        f"{of['number']:,}, {of['with_examples']:,} of them with examples; the largest has "
        f"{of['largest_share']:.1%}"
    )


def _text_facts(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    source, window = audit["source"], audit["window"]
    facts = [
        ("text", source.get("source")),
        ("SHA-256", source.get("sha256")),
        ("documents", _documents(audit)),
        ("tokens", source.get("tokens")),
        ("tokenizer", source.get("tokenizer")),
        ("rule", source.get("preset") or "whole words"),
        ("window", f"{window['before']} tokens + target + {window['after']} tokens"),
        ("overlapping windows", f"{audit['overlapping_windows']:,} of {audit['examples']:,}"),
    ]
    if sample := source.get("sample"):
        of = ", ".join(f"{n:,} {group}" for group, n in sample["of"].items())
        facts.append(("sample", f"{sample['per_class']} a class (seed {sample['seed']}) of {of}"))
    return [(name, f"{v:,}" if isinstance(v, int) else str(v)) for name, v in facts if v]


def _figure(picture: Picture) -> Figure:
    """Draw for the page and, if that needs all of its width, for a phone too."""
    title, caption, wide = picture.title, picture.caption, picture.wide
    svg = _svg(picture, None if wide else FIGURE_INCHES)
    phone = _svg(picture, PHONE_INCHES, "-phone") if wide else None
    return Figure(svg, phone, title, caption, picture.more)


def _svg(picture: Picture, width: float | None, suffix: str = "") -> Markup:
    """Draw, and turn the figure into SVG that can stand in a page beside others."""
    figure = np.ravel(picture.draw(width))[0].figure
    name = f"fig-{picture.name}{suffix}"
    with io.BytesIO() as file:
        plots.write(figure, file, "svg", salt=name, dpi=150)
        svg = file.getvalue().decode()
    plt.close(figure)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = f'<svg role="img" aria-labelledby="{name}-title {name}-desc"'
    title, caption = (html.escape(text) for text in (picture.title, picture.caption))
    about = f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{caption}</desc>'
    head, rest = svg.split(">", 1)
    return Markup(head.replace("<svg", label, 1) + ">" + about + rest)  # noqa: S704 - matplotlib's own


def _views(
    result: ProbeResult, model: TransformerLensModel | None
) -> list[tuple[str, Markup, Markup]]:
    """(title, body, script): units in text and, with a model, where heads look."""
    display = result.display
    if model is not None:
        display = views.display_table(model, result.contexts, views.spread_units(result))
    if display is None or "tokens" not in display:
        return []
    shown = [views.unit_browser(replace(result, display=display))]
    if model is not None and any(site.name == "q" for site in result.sites):
        heads = views.tuned_heads(result)
        shown.append(views.head_attention(model, result.contexts, heads, n=2))
    return [(view.title, Markup(view.body), Markup(view.script)) for view in shown]  # noqa: S704 - escaped there


def _table(frame: pd.DataFrame) -> Table:
    """Turn any of the result's tables into cells; what a column is decides its format."""
    sites = ", ".join(f"{name}: {record.meaning}" for name, record in SITES.items())
    hints = {**explained(), **HINTS, **EFFECT_HINTS, "site": sites}
    headers = [
        Header(
            name.replace("_", " "),
            hints.get(name, ""),
            pd.api.types.is_numeric_dtype(frame[name])
            and not pd.api.types.is_bool_dtype(frame[name]),
        )
        for name in frame
    ]
    rows = [
        [Cell(*_cell(name, value)) for name, value in _without_no_head(row).items()]
        for row in frame.to_dict("records")
    ]
    return Table(headers, rows)


def _without_no_head(row: dict[str, Any]) -> dict[str, Any]:
    """Where a site has no heads, none is numbered 0."""
    headless = "head" in row and not has_heads(row["site"])
    return {**row, "head": math.nan} if headless else row


def _cell(name: str, value: Any) -> tuple[str, str]:
    """Text of a cell, and what to sort it by."""
    if isinstance(value, (bool, np.bool_)):
        return ("yes" if value else "no"), str(int(value))
    if isinstance(value, (int, np.integer)):
        return f"{value:,}", str(value)
    if not isinstance(value, (float, np.floating)):
        return str(value), str(value)
    if np.isnan(value):
        return "none", ""
    percent = name.startswith("share") or "accuracy" in name
    return (f"{value:.1%}" if percent else f"{value:.4g}"), repr(float(value))


def _provenance(result: ProbeResult, preset: str | None) -> Iterator[tuple[str, str]]:
    """Everything that is known about where the numbers come from, flat."""
    yield from _flat("model", result.provenance["model"])
    yield from _flat("test", result.provenance["test"])
    yield "profile preset", str(preset)
    rest = {k: v for k, v in result.provenance.items() if k not in ("model", "test")}
    yield from _flat("", rest)
    yield from _flat("text", result.contexts.source)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and not (prefix and _is_short(value)):
        for name, item in value.items():
            yield from _flat(f"{prefix} {name}".strip().replace("_", " "), item)
    elif isinstance(value, Mapping):
        yield (
            prefix,
            "; ".join(f"{str(name).replace('_', ' ')}: {_said(v)}" for name, v in value.items()),
        )
    else:
        yield prefix, _said(value)


def _is_short(value: Mapping[str, Any]) -> bool:
    """Whether a mapping has room in one row."""
    nested = any(isinstance(item, Mapping) for item in value.values())
    return not nested and sum(len(_said(item)) for item in value.values()) < MOST_LETTERS


def _said(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        full = len(value) > MOST_VALUES
        return f"{len(value):,} values, in run.json" if full else ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _citation(result: ProbeResult) -> str:
    version = result.provenance["model"].get("versions", {}).get("tl_negation")
    note = f"Version {version}" if version else "Python package"
    return (
        "@software{tl_negation,\n"
        "  title  = {tl_negation: which units of a transformer know negation?},\n"
        "  author = {{the tl_negation authors}},\n"
        f"  note   = {{{note}}}\n"
        "}"
    )
