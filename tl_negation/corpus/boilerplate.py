"""Which parts of a file of Project Gutenberg's are the work, and which are header and licence.

The marker lines have changed since 1991: a header with "small print" whose end is marked, small
print at the end of the file, "START OF" and "END OF" lines, their form for copyrighted books.
"""

import re
from collections.abc import Iterator

_BEGIN = r"(?:^|(?<=\r))[ \t]{0,20}"  # ^ alone does not know the lone CR of old files
_NAME = r"(?:TH(?:E|IS)\s+)?(?:COPYRIGHTED\s+)?PROJECT\s+GUTENBERG"
_STARS = r"\*[* \t]{0,8}"
# A title may run over several lines, but not over an empty one. "End of the Project Gutenberg EBook
# of ..." often precedes the "***" line; "end of the Project Gutenberg ..." may be prose.
_IN_TITLE = r"(?:(?!\r?\n[ \t]*\r?\n)[\s\S]){0,600}?"
_MARKERS = {
    "start": rf"{_STARS}(?:START|BEGIN(?:NING)?)\s+OF\s+{_NAME}\b"
    rf"(?:{_IN_TITLE}\*\*\*)?[^\r\n]*[\r\n]*",
    "small_print": r"\*{1,5}[ \t]?START[ \t]?\*{0,5}[ \t]?THE[ \t]SMALL[ \t]PRINT!?[^\r\n]*",
    "small_print_ends": r"\[?\*{0,5}[ \t]?END[ \t]?\*{0,5}[ \t]?(?:OF[ \t])?THE[ \t]SMALL[ \t]"
    r"PRINT!?[^\r\n]*[\r\n]*|\*{0,5}SMALL[ \t]PRINT![^\r\n]{0,60}\*END\*[^\r\n]*[\r\n]*",
    "end": rf"{_STARS}(?:END|FIN)\s+(?:OF|DU)\s+{_NAME.replace('PROJECT', 'PROJE(?:CT|T)')}\b"
    r"|\[?(?:\*{1,5}[ \t]?)?(?:This[ \t]is[ \t]the[ \t]|The[ \t])?(?-i:E)nd[ \t]of\s"
    r"(?:the[ \t]|this[ \t])?(?:e(?:text|book)[ \t]of[ \t](?:the[ \t])?)?"
    r"(?:copyrighted[ \t])?Project[ \t]Gutenberg"
    r"|(?:(?-i:E)nde[ \t](?:diese[rs]?|de[rs]|von)[^\r\n]{0,30}?|(?-i:F)in[ \t]d[eu][^\r\n]{0,30}?)"
    r"Proje(?:[ck]t|t)[ \t-]Gutenberg",
    "licence": r"(?:\*\*\*[ \t]?)?START:[ \t]FULL[ \t]LICENSE",
}
_FLAGS = re.MULTILINE | re.IGNORECASE
_MARKER = re.compile(
    "|".join(rf"{_BEGIN}(?P<{name}>{marker})" for name, marker in _MARKERS.items()), _FLAGS
)
#: A stretch between two markers is not the work if another stretch is this many times longer.
FEW_LINES = 20
#: In the bytes of a download, where a start marker without an end marker means that it broke off.
START = re.compile(rf"{_BEGIN}(?:{_MARKERS['start']})", _FLAGS)
END = re.compile(rf"{_BEGIN}(?:{_MARKERS['end']})", _FLAGS)


def works(raw: str) -> tuple[tuple[int, int], ...]:
    """Find the works in a file; all of it is one if there are no markers.

    Returns
    -------
    tuple of (int, int)
        Character spans, in order. What lies between a start and an end marker is a work; and so is
        a stretch with a marker at one of its ends (the other is missing, in a file of several books
        or in one that broke off), unless it is a few lines beside the longest work. Where there is
        no such stretch, or only a few lines, the longest of the others is the work: the text before
        small print at the end of a file.
    """
    found: dict[str, list[tuple[int, int]]] = {"between": [], "beside": [], "other": []}
    for first, last, kind in _stretches(raw):
        if raw[first:last].strip():
            found[kind].append((first, last))
    spans = sorted(found["between"] + found["beside"])
    longest = max(map(_length, spans), default=0)
    other = max(found["other"], key=_length, default=(0, 0))
    if _length(other) > FEW_LINES * longest:
        return (other,)
    few = longest / FEW_LINES
    kept = [span for span in spans if span in found["between"] or _length(span) >= few]
    return tuple(kept) or ((0, 0),)


def _stretches(raw: str) -> Iterator[tuple[int, int, str]]:
    """Every stretch outside header and licence, and whether markers stand at both its ends."""
    begin: int | None = 0
    begun = False  # at a marker, not at the beginning of the file
    for marker in _MARKER.finditer(raw):
        kind = marker.lastgroup
        starts, ends = kind in ("start", "small_print_ends"), kind in ("end", "licence")
        header = starts and not begun
        if begin is not None and not header:
            name = "between" if begun and ends else "beside" if ends or starts else "other"
            yield begin, marker.start(), name
        begin, begun = (marker.end(), True) if starts else (None, False)
    if begin is not None:
        yield begin, len(raw), "beside" if begun else "other"


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]
