"""A text as a reader takes it: apostrophes as people type them, words that are broken apart.

Words are looked for in what is read, and their places are given in the text as it is written.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

#: Marks that people type for an apostrophe: one character each, read as ``'`` where they stand.
#: 0x91 and 0x92 are those of Windows-1252 in a text that was decoded as Latin-1.
MARKS = "\u2019\u02bc\u2018\u201b\u2032\u00b4\u0060\uff07\u02b9\u02bb\u02bd\u055a\ua78c\x91\x92"
APOSTROPHES = str.maketrans(dict.fromkeys(MARKS, "'"))
#: Characters that a reader does not see: soft hyphen, joiners, marks of direction, variation
#: selectors, byte-order mark.
UNSEEN = (
    "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufe00-\ufe0f\ufeff"
)  # as a set of an expression
# Why a hit is left out, as audits tell it. What a damaged apostrophe means is certain, but it is
# not what the model knows as one; whether a word that is taken apart is a contraction is not.
DAMAGED = "apostrophe as an HTML entity, escaped or wrongly decoded"
APART = "perhaps can't, taken apart or without its apostrophe"
BROKEN = "a hyphen and a space follow: perhaps part of a word"


def _wrongly_decoded() -> set[str]:
    """Every mark's UTF-8 bytes, decoded as something else, once or twice."""
    encodings = ("cp1252", "latin-1", "mac_roman", "cp437", "cp850")

    def decoded(written: Iterable[str]) -> set[str]:
        pairs = product(written, encodings)
        return {mark.encode("utf-8").decode(name, errors="replace") for mark, name in pairs}

    once = decoded(MARKS)
    return {found for found in once | decoded(once) if len(found) > 1 and "\ufffd" not in found}


_ENTITY = (
    r"(?i:&(?:amp;)*(?:apos|[lr]squor?|sbquo|prime|acute|grave|"
    r"\#0*(?:39|96|14[56]|180|70[0-3]|821[679]|8242)|"
    r"\#x0*(?:27|60|9[12]|b4|2b[bcd9]|201[89b]|2032));)"
)
_WRONG = sorted(_wrongly_decoded(), key=len, reverse=True)
_ESCAPED = rf"\\{{1,3}}['{MARKS}]|['{MARKS}]{{2,3}}(?=[tT](?![^\W_]))"
_SOFT_HYPHEN = r"(?i:&(?:amp;)*(?:shy|\#0*173|\#x0*ad);)"
_UNSEEN = rf"[{UNSEEN}]+|{_SOFT_HYPHEN}|(?i:&(?:amp;)*(?:zwn?j|\#0*820[345]);)|<wbr/?>"
_SPACE = r"(?i:&(?:amp;)*(?:nbsp|\#0*160|\#x0*a0);)"
# A word that is broken at the end of a line, or of a page: its hyphen may belong to it or not, and
# stays. Signs that scanned and quoted texts have instead of a hyphen, or before the next line.
_NEW_LINE = r"(?:\r\n|[\n\r\x0b\x0c\x85\u2028\u2029])"
_LINE_END = (
    rf"(?<=[^\W_])(?:[-\u2010\u2011\u00ac\u2e17=]|\u00ad-?|{_SOFT_HYPHEN})[{UNSEEN}]{{0,3}}"
    rf"[ \t\u00a0]{{0,20}}{_NEW_LINE}(?:[ \t]{{0,20}}{_NEW_LINE})?[ \t\u00a0>#|]{{0,20}}"
    rf"(?=['{MARKS}]?[^\W\d_])"
)
_SPECIAL = re.compile(
    rf"(?P<damaged>{_ENTITY}|{'|'.join(map(re.escape, _WRONG))}|{_ESCAPED})"
    rf"|(?P<line_end>{_LINE_END})|(?P<unseen>{_UNSEEN})|(?P<space>{_SPACE})"
)
# Where one of them may begin: a set of characters is found many times faster than the whole.
_BEGINS = re.compile(
    rf"[&\\{UNSEEN}{re.escape(''.join({wrong[0] for wrong in _WRONG}))}]"
    rf"|['{MARKS}]['{MARKS}]|[-\u2010\u2011\u00ac\u2e17=][-{UNSEEN} \t\u00a0]{{0,20}}"
    r"[\n\r\x0b\x0c\x85\u2028\u2029]|<wbr"
)
#: What each of them is replaced by.
_READ_AS = {"damaged": "'", "unseen": "", "line_end": "-", "space": " "}


@dataclass(frozen=True)
class Reading:
    """A text as it is read, and where its characters are in what is written.

    Attributes
    ----------
    text
        With ``'`` for every apostrophe, and without what a reader does not see.
    damaged
        Places in ``text`` of apostrophes that are written as several characters.
    places, shifts
        From each of these places in ``text`` on, the written text is so much further.
    """

    text: str
    damaged: tuple[int, ...]
    places: tuple[int, ...]
    shifts: tuple[int, ...]

    def written(self, start: int, end: int) -> tuple[int, int]:
        """Span in the written text of a span in what is read."""
        return start + self._shift(start), end - 1 + self._shift(end - 1) + 1

    def is_damaged(self, start: int, end: int) -> bool:
        """Whether a damaged apostrophe lies within the span."""
        after = bisect_right(self.damaged, start - 1)
        return after < len(self.damaged) and self.damaged[after] < end

    def _shift(self, place: int) -> int:
        before = bisect_right(self.places, place)
        return self.shifts[before - 1] if before else 0


def read(text: str) -> Reading:
    """Read a text: one pass over it."""
    pieces, damaged, places, shifts = [], [], [], []
    done = length = 0
    for begin in _BEGINS.finditer(text):
        match = _SPECIAL.match(text, begin.start()) if begin.start() >= done else None
        if match is None:
            continue
        read_as = _READ_AS[str(match.lastgroup)]
        pieces += [text[done : match.start()], read_as]
        length += match.start() - done + len(read_as)
        done = match.end()
        if match.lastgroup == "damaged":
            damaged.append(length - 1)
        places.append(length)
        shifts.append(done - length)
    pieces.append(text[done:])
    whole = "".join(pieces).translate(APOSTROPHES)
    return Reading(whole, tuple(damaged), tuple(places), tuple(shifts))
