"""One self-contained HTML page about a result, to read, print and send around."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .. import views
from .._shared import Preset, check_file, expanded, validated, whole_file
from ..models import TransformerLensModel
from ..probing import ProbeResult, profile, trend, under_preset
from .answer import answer, caution, lead, short_name, summary, tiles
from .effects import effects_section
from .figures import page_figure
from .gallery import Gallery, gallery
from .provenance import citation, provenance_rows, subject, text_facts
from .tables import page_table, profile_table, units_table
from .unit_rows import unit_rows

#: Rows of the table of units.
TABLE_UNITS = 100
#: Scripts of the page, in their order.
SCRIPTS = ("table.js", "page.js")
#: What that table is ranked by, in words.
RANKED_BY = {
    "words_t": "statistic over words (words t)",
    "lr": "likelihood ratio (lr)",
}


@validated
def report(
    result: ProbeResult,
    path: str | Path,
    *,
    model: TransformerLensModel | None = None,
    preset: Preset = None,
    figures: Gallery | None = None,
) -> Path:
    """Write a result as one HTML file that loads nothing from anywhere.

    Parameters
    ----------
    result
        From :func:`tl_negation.probe`, :func:`tl_negation.scan` or
        :func:`tl_negation.load_result`. Units are drawn by word if it still holds activations.
    path
        The file to write; replaced if it exists.
    model
        The TransformerLens model, to show the strongest units in text; not needed for a result
        of :func:`tl_negation.scan`, which keeps what there is to show.
    preset
        As in :func:`tl_negation.profile`; the whole page goes by the preset's test.
    figures
        For callers that have written the figures to files already: what
        ``tl_negation.report.gallery`` made of the same result and preset. No figure is drawn twice
        at the same width, and the profile is not computed again.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TypeError
        ``result`` is not a result, or the model is not a TransformerLens model.
    ValueError
        The preset is unknown; or ``figures`` are those of another result or preset.
    OSError
        No file can be written to ``path``: it is a device or a directory, its name is too long.

    Notes
    -----
    The page says what is *decodable from* units. It does not say what the model uses, nor that
    it is the category rather than the word that is decoded.

    Examples
    --------
    >>> path = tln.report(result, "report.html")
    >>> "What this does not show" in path.read_text("utf-8")
    True
    """
    check_file(path)  # before figures are drawn
    if figures is None:
        result = under_preset(result, preset)
        figures = gallery(result, profile(result, preset=preset), preset)
    elif figures.numbers.result is not result or figures.numbers.preset != preset:
        raise ValueError(
            f"the figures must be those of this result and preset; got those of preset "
            f"{figures.numbers.preset!r} for a page with preset {preset!r}: call "
            f"gallery(result, profile(result, preset=preset), preset)"
        )
    page = _template().render(_page(figures, model))
    with whole_file(path) as file:
        file.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
    return expanded(path)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tl_negation", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _page(figures: Gallery, model: TransformerLensModel | None) -> dict[str, Any]:
    """Collect what the template shows."""
    numbers = figures.numbers
    result, audit = numbers.result, numbers.result.contexts.counts()
    groups = list(audit["groups"])
    shown = _views(result, model)
    top = result.top(TABLE_UNITS, full=True)
    first, *others = figures.section("figures")
    folder = files("tl_negation.report")
    scripts = [folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS]
    if shown:
        scripts += [views.page_script(), "\n".join(view.script for view in shown)]
    return {
        "title": f"{' or '.join(groups)}?",
        "page_title": f"{' or '.join(groups)}, {short_name(result)}",
        "lead": lead(result, groups),
        "subject": subject(result),
        "answer": answer(result, numbers.modules, groups),
        "caution": caution(audit, intervened="ablation" in result.tables),
        "summary": summary(result),
        "tiles": list(tiles(result, audit)),
        "audit": audit,
        "text": text_facts(audit),
        "opening": page_figure(first),
        "figures": [page_figure(picture) for picture in others],
        "effects": effects_section(result, figures),
        "profile": profile_table(numbers.table),
        "trends": page_table(trend(numbers.table)),
        "top": units_table(top),
        "unit_rows": unit_rows(result, top),
        "ranked_by": RANKED_BY[result.ranked_by],
        "n_units": result.columns["status"].numel(),
        "views": [(view.title, Markup(view.body)) for view in shown],  # noqa: S704 - escaped there
        "views_css": Markup(views.CSS),  # noqa: S704 - ours
        "scripts": list(map(Markup, scripts)),
        "policy": views.policy(scripts),
        "provenance": list(provenance_rows(result, numbers.preset)),
        "cite": citation(result),
    }


def _views(result: ProbeResult, model: TransformerLensModel | None) -> list[views.View]:
    """Make the views of the page: units in text, where heads look (by a model)."""
    display = result.display
    if model is not None:
        display = views.display_table(model, result.contexts, views.spread_units(result))
    if display is None or "tokens" not in display:
        return []
    shown = [views.unit_browser(replace(result, display=display))]
    if model is not None and any(site.name == "q" for site in result.sites):
        heads = views.tuned_heads(result)
        shown.append(views.head_attention(model, result.contexts, heads, n=2))
    return shown
