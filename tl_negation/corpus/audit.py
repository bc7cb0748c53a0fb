"""The audit of contexts as lines of text, and its essence as HTML."""

from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd

#: Words of each class that a notebook shows.
MOST_WORDS = 8


def audit_lines(counts: dict[str, Any]) -> Iterator[str]:
    """Lines of :meth:`tl_negation.Contexts.audit`, from its counts."""
    source, window, n = counts["source"], counts["window"], counts["examples"]
    licence = "kept" if source.get("keep_boilerplate") else "cut"
    yield f"text       {source.get('source')} ({source.get('encoding')}, licence {licence})"
    yield f"SHA-256    {source.get('sha256')}"
    yield from _document_lines(counts["documents"], source.get("documents"))
    yield f"length     {source.get('characters'):,} characters, {source.get('tokens'):,} tokens"
    yield (
        f"tokenizer  {source.get('tokenizer')} ({source.get('tokenizer_class')}, "
        f"{source.get('vocab_size'):,} tokens)"
    )
    yield f"rule       {source.get('preset') or 'whole words'}"
    bos = "BOS + " if window["prepend_bos"] else ""
    yield f"window     {bos}{window['before']} before + target + {window['after']} after"
    if sample := source.get("sample"):
        of = ", ".join(f"{count} {group}" for group, count in sample["of"].items())
        yield f"sample     {sample['per_class']} of each class (seed {sample['seed']}), of {of}"
    yield f"examples   {n}; base rate {counts['base_rate']:.1%} (guessing the larger class)"
    for group, of in counts["groups"].items():
        yield from _group_lines(group, of)
    yield f"\noverlapping windows  {counts['overlapping_windows']} of {n}"
    yield "left out" if counts["dropped"] else "left out  none"
    for reason, by_group in counts["dropped"].items():
        yield f"  {reason}: " + ", ".join(f"{count} {g}" for g, count in by_group.items())


def _document_lines(of: dict[str, Any], read: dict[str, Any] | None) -> Iterator[str]:
    if read is None:
        return
    yield (
        f"documents  {of['number']:,}, {of['with_examples']:,} with examples; largest share: "
        f"{of['largest_share']:.1%} ({of['largest']})"
    )
    left_out = {"shorter than a window": read["shorter_than_window"]}
    left_out["rows without words"] = read["empty_rows"]
    if any(left_out.values()):
        told = ", ".join(f"{n:,} {what}" for what, n in left_out.items() if n)
        yield f"           without use: {told}"


def _group_lines(group: str, of: dict[str, Any]) -> Iterator[str]:
    yield f"\n{group} (label {of['label']}): {of['examples']} examples"
    for kind in ("word", "token"):
        types = of[f"{kind}_types"]
        names = ", ".join(f"{name!r} {count}" for name, count in types.items())
        yield f"  {len(types)} {kind} types: {names}"
    yield f"  largest word type: {of['largest_word']}, {of['largest_word_share']:.1%}"
    yield f"  in boilerplate: {of['in_boilerplate']}"


def audit_html(title: str, counts: dict[str, Any]) -> str:
    """Title and a row per class: what a notebook shows of contexts."""
    rows = [
        {
            "class": group,
            "label": of["label"],
            "contexts": of["examples"],
            "words": len(of["word_types"]),
            "most frequent": _frequent(of["word_types"]),
        }
        for group, of in counts["groups"].items()
    ]
    with pd.option_context("display.max_colwidth", None):
        return f"<p>{escape(title)}</p>" + pd.DataFrame(rows).to_html(index=False)


def _frequent(words: dict[str, int]) -> str:
    shown = [f"{word} {n}" for word, n in list(words.items())[:MOST_WORDS]]
    return ", ".join(shown) + (" ..." if len(words) > MOST_WORDS else "")
