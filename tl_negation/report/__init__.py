"""The report of a result: one HTML file that opens anywhere."""

from .gallery import gallery
from .page import report

__all__ = [
    "gallery",
    "report",
]
