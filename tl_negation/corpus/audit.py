"""The audit of contexts as lines of text, and its short form as HTML."""

from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd

from .finding import RULES

#: The HTML form names this many words of each class.
MOST_WORDS = 8


def audit_lines(counts: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of :meth:`tl_negation.Contexts.audit`, from its counts."""
    source, window, n = counts["source"], counts["window"], counts["examples"]
    own = "columns" in source  # a table of labelled examples
    yield from _table_lines(source, counts) if own else _text_lines(source, counts)
    yield f"length     {source.get('characters'):,} characters, {source.get('tokens'):,} tokens"
    yield (
        f"tokenizer  {source.get('tokenizer')} ({source.get('tokenizer_class')}, "
        f"{source.get('vocab_size'):,} tokens)"
    )
    if not own:
        yield f"rule       {source.get('preset') or RULES[None].name}"
    bos, most = "BOS + " if window["prepend_bos"] else "", "up to " if own else ""
    yield (
        f"window     {bos}{most}{window['before']} before + target + {most}{window['after']} after"
    )
    if sample := source.get("sample"):
        whole = ", ".join(f"{count} {group}" for group, count in sample["of"].items())
        yield f"sample     {sample['per_class']} of each class (seed {sample['seed']}), of {whole}"
    yield f"examples   {n}; base rate {counts['base_rate']:.1%} (guessing the larger class)"
    for group, counted in counts["groups"].items():
        yield from _group_lines(group, counted, own)
    yield f"\noverlapping windows  {counts['overlapping_windows']} of {n}"
    yield "left out" if counts["dropped"] else "left out  none"
    for reason, by_group in counts["dropped"].items():
        yield f"  {reason}: " + ", ".join(f"{count} {name}" for name, count in by_group.items())


def _text_lines(source: dict[str, Any], counts: dict[str, Any]) -> Iterator[str]:
    """Lines about the text in which words were found."""
    licence = "kept" if source.get("keep_boilerplate") else "cut"
    yield f"text       {source.get('source')} ({source.get('encoding')}, licence {licence})"
    cut = {place: n for place, n in source.get("cut", {}).items() if n}
    if cut:
        listed = ", ".join(f"{n:,} {place}" for place, n in cut.items())
        yield f"cut        characters outside Project Gutenberg's markers: {listed} the work"
    yield f"SHA-256    {source.get('sha256')}"
    yield from _document_lines(counts["documents"], source.get("documents"))


def _table_lines(source: dict[str, Any], counts: dict[str, Any]) -> Iterator[str]:
    """Lines about the table that examples were taken from."""
    yield f"table      {source['source']}, {source['documents']['number']:,} rows"
    yield f"SHA-256    {source['sha256']}"
    named = ", ".join(f"{role} {column!r}" for role, column in source["columns"].items())
    at = "the last token" if source["at"] == ["last"] else " to ".join(source["at"])
    yield f"columns    {named}; read at {at}"
    together = [f"{n:,} {kind}s" for kind, n in counts["together"].items()]
    if together:
        yield f"together   {', '.join(together)}"


def _document_lines(documents: dict[str, Any], read: dict[str, Any] | None) -> Iterator[str]:
    """Lines about several documents; ``read`` is None if there was only one."""
    if read is None:
        return
    yield (
        f"documents  {documents['number']:,}, {documents['with_examples']:,} with examples; "
        f"largest share: {documents['largest_share']:.1%} ({documents['largest']})"
    )
    unused = {
        "shorter than a window": read["shorter_than_window"],
        "rows without words": read["empty_rows"],
    }
    if any(unused.values()):
        listed = ", ".join(f"{number:,} {why}" for why, number in unused.items() if number)
        yield f"           not used: {listed}"


def _group_lines(group: str, counted: dict[str, Any], own: bool) -> Iterator[str]:
    yield f"\n{group} (label {counted['label']}): {counted['examples']} examples"
    for kind in ("word", "token"):
        types = counted[f"{kind}_types"]
        names = ", ".join(f"{name!r} {count}" for name, count in types.items())
        yield f"  {len(types)} {kind} types: {names}"
    yield f"  largest word type: {counted['largest_word']}, {counted['largest_word_share']:.1%}"
    if not own:
        yield f"  in boilerplate: {counted['in_boilerplate']}"


def audit_html(title: str, counts: dict[str, Any]) -> str:
    """Show a title and a table with a row per class, as a notebook displays contexts."""
    rows = [
        {
            "class": group,
            "label": counted["label"],
            "contexts": counted["examples"],
            "words": len(counted["word_types"]),
            "most frequent": _frequent(counted["word_types"]),
        }
        for group, counted in counts["groups"].items()
    ]
    with pd.option_context("display.max_colwidth", None):
        return f"<p>{escape(title)}</p>" + pd.DataFrame(rows).to_html(index=False)


def _frequent(words: dict[str, int]) -> str:
    shown = [f"{word} {n}" for word, n in list(words.items())[:MOST_WORDS]]
    return ", ".join(shown) + (" ..." if len(words) > MOST_WORDS else "")
