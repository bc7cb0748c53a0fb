"""Which parts of a file of Project Gutenberg's are the work, and which are header and licence.

The marker lines have changed since 1991: a header with "small print" whose end is marked, small
print at the end of the file, "START OF" and "END OF" lines, their form for copyrighted books.
"""

import re
from collections.abc import Iterator

_NAME = r"TH(?:E|IS)\s+(?:COPYRIGHTED\s+)?PROJECT\s+GUTENBERG"
# A title may run over several lines. "End of the Project Gutenberg EBook of ..." often precedes the
# "***" line.
_MARKERS = {
    "start": rf"\*\*\*[ \t]*START\s+OF\s+{_NAME}\b[\s\S]{{0,400}}?\*\*\*[^\r\n]*[\r\n]*",
    "small_print": r"\*+[ \t]*START[ \t]*\**[ \t]*THE[ \t]+SMALL[ \t]+PRINT![^\r\n]*",
    "small_print_ends": r"\*+[ \t]*END[ \t]*\**[ \t]*THE[ \t]+SMALL[ \t]+PRINT![^\r\n]*[\r\n]*",
    "end": rf"\*\*\*[ \t]*END\s+OF\s+{_NAME}\b"
    r"|[ \t]*\**[ \t]*(?:This[ \t]+is[ \t]+the[ \t]+)?End[ \t]+of[ \t]+(?:the[ \t]+|this[ \t]+)?"
    r"(?:copyrighted[ \t]+)?Project[ \t]+Gutenberg"
    r"|[ \t]*(?:Ende[ \t]+dieses[ \t]+Proje[ck]t|Fin[ \t]+d[eu][^\r\n]{0,40}Project)"
    r"[ \t]+Gutenberg",
    "licence": r"(?:\*\*\*[ \t]*)?START:[ \t]+FULL[ \t]+LICENSE",
}
_MARKER = re.compile(
    "|".join(rf"^(?P<{name}>{marker})" for name, marker in _MARKERS.items()),
    re.MULTILINE | re.IGNORECASE,
)
#: A stretch between two markers is not the work if another stretch is this many times longer.
FEW_LINES = 20
#: In the bytes of a download, where a start marker without an end marker means that it broke off.
START = re.compile(rf"^(?:{_MARKERS['start']})", re.MULTILINE | re.IGNORECASE)
END = re.compile(rf"^(?:{_MARKERS['end']})", re.MULTILINE | re.IGNORECASE)


def works(raw: str) -> tuple[tuple[int, int], ...]:
    """Find the works in a file; all of it is one if there are no markers.

    Returns
    -------
    tuple of (int, int)
        Character spans, in order. What lies between a start and an end marker is a work. Where
        nothing does, or only a few lines do, the longest of the other stretches is the work: the
        text before small print at the end of a file, or that of a file that broke off.
    """
    between, others = [], []
    for first, last, certain in _stretches(raw):
        if raw[first:last].strip():
            (between if certain else others).append((first, last))
    longest = max(map(_length, between), default=0)
    other = max(others, key=_length, default=(0, 0))
    if _length(other) > FEW_LINES * longest:
        return (other,)
    return tuple(between) or ((0, 0),)


def _stretches(raw: str) -> Iterator[tuple[int, int, bool]]:
    """Every stretch outside header and licence, and whether a marker stands at both its ends."""
    begin: int | None = 0
    begun = False  # at a marker, not at the beginning of the file
    for marker in _MARKER.finditer(raw):
        kind = marker.lastgroup
        header = kind == "start" and not begun
        if begin is not None and not header:
            yield begin, marker.start(), begun and kind in ("end", "licence")
        starts = kind in ("start", "small_print_ends")
        begin, begun = (marker.end(), True) if starts else (None, False)
    if begin is not None:
        yield begin, len(raw), False


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]
