"""Where the numbers come from: the text, the model, the tests, and how to cite."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..probing import ProbeResult

#: A list of more values than this is only counted.
MOST_VALUES = 40
#: A mapping whose values have fewer letters than this has room in one row.
MOST_LETTERS = 120


def subject(result: ProbeResult) -> str:
    """Say in a line what was scanned."""
    model, source = result.provenance["model"], result.contexts.source
    about = ", ".join(str(model[name]) for name in ("source", "quantised") if model.get(name))
    return (
        f"{len(result.layers)} layers of {model.get('name', 'a model')}{about and f' ({about})'}, "
        f"sites {', '.join(site.name for site in result.sites)}, on {len(result.contexts):,} "
        f"contexts from {source.get('source', 'a text')}"
    )


def text_facts(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what is known about the text: name and value, from ``Contexts.counts()``."""
    source, window = audit["source"], audit["window"]
    facts = [
        ("text", source.get("source")),
        ("SHA-256", source.get("sha256")),
        ("documents", _documents(audit)),
        ("tokens", source.get("tokens")),
        ("tokenizer", source.get("tokenizer")),
        ("rule", source.get("preset") or "whole words"),
        ("window", f"{window['before']} tokens + target + {window['after']} tokens"),
        ("overlapping windows", f"{audit['overlapping_windows']:,} of {audit['examples']:,}"),
    ]
    if sample := source.get("sample"):
        counts = ", ".join(f"{n:,} {group}" for group, n in sample["of"].items())
        drawn = f"{sample['per_class']} a class (seed {sample['seed']}) of {counts}"
        facts.append(("sample", drawn))
    return [
        (name, f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in facts
        if value
    ]


def _documents(audit: Mapping[str, Any]) -> str | None:
    documents = audit.get("documents", {"number": 1})
    if documents["number"] == 1:
        return None
    return (
        f"{documents['number']:,}, {documents['with_examples']:,} of them with examples; the "
        f"largest has {documents['largest_share']:.1%}"
    )


def provenance_rows(result: ProbeResult, preset: str | None) -> Iterator[tuple[str, str]]:
    """List everything that is known about where the numbers come from, as name and value."""
    yield from flat("model", result.provenance["model"])
    yield from flat("test", result.provenance["test"])
    yield "profile preset", str(preset)
    rest = {k: v for k, v in result.provenance.items() if k not in ("model", "test")}
    yield from flat("", rest)
    yield from flat("text", result.contexts.source)


def flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Turn a value into rows: a row per item of a mapping, unless all of it has room in one."""
    if isinstance(value, Mapping) and not (prefix and _is_short(value)):
        for name, item in value.items():
            yield from flat(f"{prefix} {name}".strip().replace("_", " "), item)
    elif isinstance(value, Mapping):
        items = (f"{str(k).replace('_', ' ')}: {format_value(v)}" for k, v in value.items())
        yield prefix, "; ".join(items)
    else:
        yield prefix, format_value(value)


def _is_short(value: Mapping[str, Any]) -> bool:
    """Whether a mapping has room in one row."""
    nested = any(isinstance(item, Mapping) for item in value.values())
    letters = sum(len(format_value(item)) for item in value.values())
    return not nested and letters < MOST_LETTERS


def format_value(value: Any) -> str:
    """Write a value of the provenance as text; a long list is only counted."""
    if isinstance(value, (list, tuple)):
        full = len(value) > MOST_VALUES
        return f"{len(value):,} values, in run.json" if full else ", ".join(map(str, value))
    return "none" if value is None else str(value)


def citation(result: ProbeResult) -> str:
    """Write how to cite the software, as BibTeX."""
    version = result.provenance["model"].get("versions", {}).get("tl_negation")
    note = f"Version {version}" if version else "Python package"
    return (
        "@software{tl_negation,\n"
        "  title  = {tl_negation: which units of a transformer know negation?},\n"
        "  author = {{the tl_negation authors}},\n"
        f"  note   = {{{note}}}\n"
        "}"
    )
