"""The report of a result: one HTML file that opens anywhere.

``gallery.py`` lists the figures of a run and of its report, one entry each; a ``Picture`` draws
itself once for each width. ``page.py`` fills the template ``report.html.j2`` with what ``answer``,
``tables``, ``figures``, ``effects`` and ``provenance`` give.
"""

from .gallery import FIGURES, Figure, Gallery, Numbers, gallery
from .page import report
from .picture import Picture

__all__ = [
    "FIGURES",
    "Figure",
    "Gallery",
    "Numbers",
    "Picture",
    "gallery",
    "report",
]
