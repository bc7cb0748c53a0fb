"""Two named word lists, and how a word of either is recognised in a text.

The lists of ``NEGATION`` are those of the reference notebook; the rule that finds them is not
(examples/method.md).
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from reprlib import repr as short
from types import MappingProxyType
from typing import Any, NamedTuple

from .._shared import Count, expanded, integer, string, validated
from .contrast_files import read_contrast
from .reading import APART, BROKEN, DAMAGED, Reading, read

if sys.version_info >= (3, 11):
    from re import _parser
else:
    import sre_parse as _parser

_LETTER = r"[^\W_]"  # a letter or digit of any script
_JOINER = "[-_\u2010\u2011]"  # joins two words that touch it; "--" and dashes do not
_ACCENT = "[\u0300-\u036f]"  # belongs to the letter before it
_BEFORE = rf"(?<!{_LETTER})(?<!{_ACCENT})(?<!{_LETTER}{_JOINER})"
_END = rf"(?!{_LETTER}|-{_LETTER}|{_ACCENT})"
# What may be the clitic 't after a word in n: with an apostrophe and a space, with another mark in
# place of the apostrophe, or with one in an encoding that is not read.
_T = r"(?:\s+'\s*|'\s+|[^\w\s'\-]{1,6}|'[^\x00-\x7f]{1,3}|[&\\%=<{\u221a]\S{1,14}?|&\w{2,8}\s|-')t"
# What may be a misplaced n't after any word: could'nt, could nt, could n' t; can'not, can'ot.
_NT = r"(?:\s*'\s*n\s*'?\s*t|\s+n\s*'?\s*t|'n?ot)"
_AUXILIARY = "is|are|was|were|do|does|did|have|has|had|wo|would|could|should|might|must|need|sha|ai"


def _both_cases(expression: str) -> dict[bool, re.Pattern[str]]:
    """In small letters as it is, in capitals after a word in capitals (can T-cells is no can't)."""
    return {
        False: re.compile(f"{expression}{_END}"),
        True: re.compile(f"{expression}{_END}", re.IGNORECASE),
    }


_APART, _MISPLACED = _both_cases(_T), _both_cases(_NT)
_CAN_T = _both_cases(r"\s+t")
# The other contractions, taken apart or without their apostrophe: no other entry would count them.
_CONTRACTION_APART = re.compile(
    rf"{_BEFORE}(?:(?:{_AUXILIARY})(?:n(?:{_T})|{_NT})|"
    rf"(?:is|are|was|were|does|did|have|has|had|would|could|should|might|must|need)nt|dont)"
    rf"(?!'){_END}",
    re.IGNORECASE,
)
_BROKEN = re.compile(r"[-\u2010\u2011][ \t]+[^\W\d_A-Z]")
# The clitic 't makes a different word (can't); 's, 've, 'd ... do not (could've).
_AFTER = rf"(?!{_LETTER})(?!{_ACCENT})(?!{_JOINER}{_LETTER})(?!'t(?!{_LETTER}))"


#: Letters that a star may stand for, and characters after a hit that ``exclude`` may look at.
LONGEST_PART, SEEN = 100, 300
#: The entry that stands for all contractions with *not*.
CONTRACTIONS = "*n't"


class Hit(NamedTuple):
    """A word of the contrast found in a text.

    ``start`` and ``end`` are the target's character span, ``word`` is the entry of the list without
    its star (the *word type*), ``label`` is 1 for the first list and 0 for the second, ``reason``
    says why the hit is left out, or is None.
    """

    start: int
    end: int
    word: str
    label: int
    reason: str | None


@dataclass(frozen=True)
class Contrast:
    """Two word lists to tell apart, and the hits to leave out.

    Attributes
    ----------
    name
        What the contrast is called in reports.
    lists
        Exactly two named lists of words; those of the first have label 1. An entry is a word
        (``"not"``) or a pattern with a star at one end or both (``"*n't"``: every word with this
        ending). The entry without its star is the word type of its hits. If a word and a pattern
        both fit, the word counts. ``"can|'t"`` is *can* directly followed by *'t*; the target
        ends at the bar.
    exclude
        Reason -> regular expression, tried with ``re.match`` at the start of a hit (case-sensitive,
        apostrophes as ``'``; a look-behind sees what precedes). A hit that it matches is left out
        and counted under the reason.
    distance
        The target is the word this many words after the hit (0: the hit itself); see ``carried``.

    Raises
    ------
    ValueError
        Not two lists, an empty list, a malformed or repeated entry, an invalid expression, a
        negative distance.
    TypeError
        A name that is not a string, lists that are not a mapping, a list given as one string, a
        distance that is not an integer.

    Examples
    --------
    >>> pronouns = tln.Contrast("pronouns", {"she": ("she", "her"), "he": ("he", "him", "his")})
    >>> [(hit.word, hit.label) for hit in pronouns.find("She saw him.")]
    [('she', 1), ('him', 0)]
    >>> pronouns.carried(1).name
    'pronouns, carried 1'
    """

    name: str
    lists: Mapping[str, Sequence[str]]
    exclude: Mapping[str, str] = field(default_factory=dict)
    distance: int = 0

    def __post_init__(self):
        string("name", self.name)
        if not isinstance(self.lists, Mapping):
            raise TypeError(
                f"lists must map two names to lists of words; got a {type(self.lists).__name__}"
            )
        for name, words in self.lists.items():
            if isinstance(words, str):
                raise TypeError(
                    f'list {name!r} must be a list of words, as ("{words}",); got a str'
                )
            if not isinstance(words, Sequence):
                raise TypeError(f"list {name!r} must be a list of words; got {short(words)}")
            if not all(isinstance(word, str) for word in words):
                raise TypeError(f"list {name!r} must hold words (strings); got {words!r}")
        lists = {name: tuple(map(_normalise, words)) for name, words in self.lists.items()}
        _check_lists(lists)
        check_exclude(self.exclude)
        integer("distance", self.distance)
        if self.distance < 0:
            raise ValueError(f"distance counts words and cannot be negative; got {self.distance}")
        object.__setattr__(self, "lists", MappingProxyType(lists))
        object.__setattr__(self, "exclude", MappingProxyType(dict(self.exclude)))

    def __reduce__(self) -> tuple[type, tuple[str, dict, dict, int]]:
        return Contrast, (self.name, dict(self.lists), dict(self.exclude), self.distance)

    @classmethod
    @validated
    def from_file(cls, path: str | Path) -> "Contrast":
        r"""Read a contrast from a TOML file.

        Parameters
        ----------
        path
            Of a file with ``name``, a table ``lists`` of two lists of words, and perhaps a table
            ``exclude`` of reasons and regular expressions, and ``distance``.

        Returns
        -------
        Contrast

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is not TOML in UTF-8, holds something else, or lacks name or lists; whatever
            a contrast refuses.

        Examples
        --------
        >>> from pathlib import Path
        >>> lines = ['name = "pronouns"', "[lists]", 'she = ["she", "her"]', 'he = ["he", "him"]']
        >>> _ = Path("pronouns.toml").write_text("\n".join(lines))
        >>> tln.Contrast.from_file("pronouns.toml").groups
        ('he', 'she')
        """
        return cls(**read_contrast(expanded(path), [field.name for field in fields(cls)]))

    @validated
    def carried(self, distance: Count = 1) -> "Contrast":
        """Take the word *after* the marker as the target: ``not be`` against ``can be``.

        :func:`tl_negation.find_contexts` then keeps only targets whose token occurs after words of
        both lists, and each of them equally often after either list. As the target tokens are the
        same in both classes, only what the model carried forward can tell the classes apart.

        Parameters
        ----------
        distance
            How many words after the marker, at least 1. Several distances give a curve of how long
            the marker is carried.

        Returns
        -------
        Contrast
            The same lists, with this ``distance``.

        Raises
        ------
        ValueError
            ``distance`` is below 1.
        """
        return replace(self, name=f"{self.name}, carried {distance}", distance=distance)

    @property
    def groups(self) -> tuple[str, str]:
        """Names of the lists by label: ``groups[1]`` is the first list."""
        first, second = self.lists
        return second, first

    def to_dict(self) -> dict[str, Any]:
        """Everything that defines the contrast, ready for JSON."""
        lists = {name: list(words) for name, words in self.lists.items()}
        exclude = dict(self.exclude)
        return {"name": self.name, "lists": lists, "exclude": exclude, "distance": self.distance}

    def find(self, text: str) -> tuple[Hit, ...]:
        """Find whole words, case-insensitively, in order of position.

        A word is bounded by anything that is not a letter or digit, except that one ``-`` or ``_``
        between two letters joins them: ``_not_`` is a hit, ``can-opener`` and ``not_found`` are
        not. A word followed by the clitic ``'t`` is a different word (``can't`` is not a hit of
        ``can``).

        Parameters
        ----------
        text
            Any string. It is read as people read it: what they type for an apostrophe (U+2019,
            U+00B4, U+0060, U+2032 and more) as ``'``; without soft hyphens and joiners; and a word
            that is broken at the end of a line in one.

        Returns
        -------
        tuple of Hit
            Also the hits that are to be left out, each with its reason.
        """
        string("text", text)
        reading = read(text)
        pattern, entries = self._matcher
        hits = [
            Hit(*match.span(), *entries[match.lastindex], self._reason(reading, *match.span()))
            for match in pattern.finditer(reading.text)
        ]
        hits = self._with_contractions(reading.text, hits)
        if self.distance:
            hits = list(_follow(reading.text, hits, self.distance))
        if not reading.places:  # nothing is read otherwise than it is written
            return tuple(hits)
        return tuple(
            hit._replace(start=start, end=end)
            for hit in hits
            for start, end in [reading.written(hit.start, hit.end)]
        )

    def _reason(self, reading: Reading, start: int, end: int) -> str | None:
        text = reading.text
        last = end + SEEN  # bounds what an expression can cost
        excluded = (why for why, test in self._tests.items() if test.match(text, start, last))
        if reading.is_damaged(start, end):
            return next(excluded, DAMAGED)
        word = text[start:end]
        capitals = word.isupper() and len(word) > 1
        apart = (
            (word[-1] in "nN" and _APART[capitals].match(text, end))
            or (word.lower() == "can" and _CAN_T[capitals].match(text, end))
            or _MISPLACED[capitals].match(text, end)
        )
        if apart:
            return next(excluded, APART)
        return next(excluded, BROKEN if _BROKEN.match(text, end) else None)

    def _with_contractions(self, text: str, hits: list[Hit]) -> list[Hit]:
        """Add the contractions that are taken apart, to be left out and counted."""
        for label, group in enumerate(self.groups):
            if CONTRACTIONS in self.lists[group]:
                word = CONTRACTIONS.strip("*")
                taken = {hit.end for hit in hits} | {hit.start for hit in hits}
                found = [
                    Hit(*match.span(), word, label, APART)
                    for match in _CONTRACTION_APART.finditer(text)
                    if match.start() not in taken and match.end() not in taken
                ]
                return sorted([*hits, *found])
        return hits

    @cached_property
    def _tests(self) -> dict[str, re.Pattern[str]]:
        return {reason: re.compile(test) for reason, test in self.exclude.items()}

    @cached_property
    def _matcher(self) -> tuple[re.Pattern[str], dict[int | None, tuple[str, int]]]:
        """One expression with a group per entry, and each group's word type and label.

        The groups are those of ``Match.lastindex``, which is None only without groups.
        """
        entries = [
            (word, label)
            for label, group in ((1, self.groups[1]), (0, self.groups[0]))
            for word in self.lists[group]
        ]
        entries.sort(key=lambda entry: ("*" in entry[0], -len(entry[0])))
        choices = "|".join(_expression(word) for word, _ in entries)
        pattern = re.compile(f"{_BEFORE}(?:{choices})", re.IGNORECASE)
        groups = enumerate(entries, 1)
        return pattern, {group: (word.strip("*"), label) for group, (word, label) in groups}


def _normalise(word: str) -> str:
    return read(word).text.lower()


def _expression(word: str) -> str:
    part = (
        f"{_LETTER}{{0,{LONGEST_PART}}}"  # without a bound, a long run of letters costs its square
    )
    target, _, clitic = re.escape(word).replace(r"\*", part).partition(r"\|")
    return f"({target})(?={clitic}(?!{_LETTER}))" if clitic else f"({target}){_AFTER}"


# A target word after a marker; only white space may separate the two.
_NEXT_WORD = re.compile(rf"\s+({_LETTER}+(?:['{_JOINER[1:-1]}]{_LETTER}+)*)")
NO_NEXT_WORD = "no word follows in the clause"
ANOTHER_MARKER = "another word of the contrast follows"


def _follow(text: str, hits: Sequence[Hit], distance: int) -> Iterator[Hit]:
    """Move each hit's target this many words on; give a reason where that is impossible."""
    starts = {hit.start for hit in hits}
    for hit in hits:
        start, end, reason = hit.start, hit.end, hit.reason
        for _ in range(distance):
            match = _NEXT_WORD.match(text, end)
            if match is None:
                reason = reason or NO_NEXT_WORD
                break
            start, end = match.span(1)
            if start in starts:
                reason = reason or ANOTHER_MARKER
        yield hit._replace(start=start, end=end, reason=reason)


def _check_lists(lists: dict[str, tuple[str, ...]]) -> None:
    if len(lists) != 2:
        raise ValueError(f"a contrast has exactly two lists; got {len(lists)}: {list(lists)}")
    seen: dict[str, str] = {}
    for name, words in lists.items():
        if not words:
            raise ValueError(f"list {name!r} is empty; name at least one word")
        for word in words:
            _check_word(word, name)
            kind = word.strip("*")
            if kind in seen:
                raise ValueError(f"{kind!r} is in {seen[kind]!r} and again in {name!r}; keep one")
            seen[kind] = name


def _check_word(word: str, name: str) -> None:
    if re.search(r"\s", word):
        raise ValueError(f"{word!r} in list {name!r} holds white space; an entry is one word")
    if not any(map(str.isalnum, word)):
        raise ValueError(f"{word!r} in list {name!r} has no letter; an entry is a word")
    if "*" in word.strip("*") or "**" in word:
        raise ValueError(
            f"{word!r} in list {name!r}: an entry may begin with a star and end with one, but not "
            "hold it elsewhere"
        )
    if "|" in word and (word.count("|") > 1 or not all(word.split("|"))):
        raise ValueError(
            f"{word!r} in list {name!r}: an entry may hold one bar, between the target and what "
            "follows"
        )


def check_exclude(exclude: Any) -> None:
    """Refuse what cannot exclude hits in a time that grows with the text.

    Raises
    ------
    TypeError
        Not a mapping from reasons to expressions, both strings.
    ValueError
        Something is no regular expression, or may take exponential time.
    """
    if not isinstance(exclude, Mapping):
        raise TypeError(
            "exclude must map reasons to regular expressions, as {'the month': r'May\\b'}; got a "
            f"{type(exclude).__name__}"
        )
    for reason, test in exclude.items():
        string("a reason to exclude", reason)
        string(f"exclude[{reason!r}]", test)
        try:
            re.compile(test)
            parsed = _parser.parse(test)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"exclude[{reason!r}] is not a regular expression: {error}; got {short(test)}"
            ) from error
        if _explodes(parsed, within=False):
            raise ValueError(
                f"exclude[{reason!r}] repeats something that is itself repeated or a choice, which "
                f"can take longer than the age of the universe; write it without one of the two "
                f"(a+ for (a+)+, [ab]* for (a|b)*); got {short(test)}"
            )


def _explodes(parsed: Any, *, within: bool) -> bool:
    """Whether something that can match in several ways is itself repeated."""
    for operation, argument in parsed:
        repeats = operation in (_parser.MAX_REPEAT, _parser.MIN_REPEAT)
        several = (repeats and argument[0] != argument[1]) or operation is _parser.BRANCH
        if several and within:
            return True
        inside = within or (repeats and argument[1] > 1)
        if any(_explodes(part, within=inside) for part in _parts(argument)):
            return True
    return False


def _parts(argument: Any) -> Iterator[Any]:
    """The expressions within an operation's argument."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for each in argument:
            yield from _parts(each)


def _after_any(words: str) -> str:
    """Look behind for any of the words and one white space; a look-behind has a fixed width."""
    return "(?:" + "|".join(rf"(?<=\b(?i:{word})\s)" for word in words.split()) + ")"


_AFFIRMATION = ("agree", "always", "allow", "can", "certainly", "could", "definitely", "may")
_AFFIRMATION += ("might", "shall", "should")
_ANY_AFFIRMATION = "|".join(_AFFIRMATION)
# First words of the subject in "May ... !" or a question. "May the 4th", "May the first" are dates.
_SUBJECTS = (
    "I|he|she|it|we|you|ye|they|one|who|God|Heaven|the|a|an|all|no|any|some|each|every|this|that|"
    "these|those|there|my|your|his|her|its|our|their|thy|not"
)
_ORDINALS = (
    r"the\s+(?:\d|twenty|thirty|(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|"
    r"eleventh|twelfth|\w+teenth|twentieth|thirtieth)\b)"
)

NEGATION = Contrast(
    "negation",
    {"negation": ("not", "cannot", "nor", "never", "*n't"), "affirmation": _AFFIRMATION},
    exclude={
        # can not, could n't, could've not, can _not_; over a line break too
        "affirmation followed by not": rf"(?i:{_ANY_AFFIRMATION})(?:'(?!t\b)[a-z]+)?"
        rf"[\s_*~/\"'\u201c(\[{{`]+(?:<[a-z]{{1,10}}>)?(?i:not|n't)(?!{_LETTER})",
        # in May, May 9, MAY 1953; "May" in title case is the modal only before its subject
        "May, the month": rf"{_after_any('in of by until since last next late early mid')}May\b"
        rf"|M(?:ay|AY)\s+\d|May\b(?!\s+(?!{_ORDINALS})(?i:{_SUBJECTS})\b)",
        "can or might, the noun": rf"{_after_any('a the tin oil gas beer trash')}(?i:can)\b"
        rf"|{_after_any('the his her their my your our its')}(?i:might)\b",
    },
)
"""Negation (label 1) against affirmation (label 0): the lists of the reference notebook.

Left out, and counted: an affirmation followed by *not* or *n't* (the *not* itself stays a
negation); *May* in title case unless a pronoun, determiner, *God* or *not* follows it; *can* and
*might* after a determiner (*a tin can*, *his might*).
"""

ANTICIPATED = Contrast(
    "anticipated negation",
    {"can before 't": ("can|'t",), "plain can": ("can",)},
    exclude={reason: NEGATION.exclude[reason] for reason in ("affirmation followed by not",)},
)
"""*can* before *'t* (label 1) against plain *can*: the activation at *can* can only predict.

For tokenizers that split *can't* after *can* (GPT-2's, SmolLM2's). Each class has one word, so
there is no test over words.
"""
