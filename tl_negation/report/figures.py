"""Figures on the page: inline SVG that can be read on a phone, on paper and by a screen reader."""

import html
import re
from typing import NamedTuple

from markupsafe import Markup

from .picture import Picture

#: Widths in inches on the page. Narrower than in a notebook: figures are side by side there, or on
#: a phone.
FIGURE_INCHES, PHONE_INCHES = 4.6, 3.6


class PageFigure(NamedTuple):
    """A figure as inline SVG; ``phone``: a narrow drawing of a figure that is wide elsewhere."""

    svg: Markup
    phone: Markup | None
    title: str
    caption: str
    more: bool


def page_figure(picture: Picture) -> PageFigure:
    """Draw for the page and, if the picture is wide, for a phone too."""
    wide = picture.wide
    svg = inline_svg(picture, None if wide else FIGURE_INCHES)
    phone = inline_svg(picture, PHONE_INCHES, "-phone") if wide else None
    return PageFigure(svg, phone, picture.title, picture.caption, picture.more)


def inline_svg(picture: Picture, width: float | None, suffix: str = "") -> Markup:
    """Return the picture as SVG that can be in a page beside others.

    matplotlib's ids are the same in every figure, so each is given the name of its figure; title
    and caption are what a screen reader says.
    """
    name, svg = f"fig-{picture.name}{suffix}", picture.svg(width)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = f'<svg role="img" aria-labelledby="{name}-title {name}-desc"'
    title, caption = (html.escape(text) for text in (picture.title, picture.caption))
    about = f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{caption}</desc>'
    head, rest = svg.split(">", 1)
    # Safe: matplotlib's own SVG, and texts that were escaped above.
    return Markup(head.replace("<svg", label, 1) + ">" + about + rest)  # noqa: S704
