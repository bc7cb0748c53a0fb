"""What a command prints: tables and sentences for the terminal, JSON for machines."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from ..probing import ProbeResult, profile, trend
from ..runs import summary

console = Console()


def print_run(result: ProbeResult, out: Path, preset: str | None, *, as_json: bool) -> None:
    """Print what was found and where it was written."""
    written = sorted(str(path) for path in out.rglob("*") if path.is_file())
    if as_json:
        print(json.dumps({**summary(result, preset=preset), "written": written}))
        return
    console.print(_profile_table(profile(result, preset=preset)))
    console.print(_trend_table(trend(profile(result, preset=preset))))
    console.print(_word_table(profile(result, preset=preset)))
    for line in result.summary().splitlines():
        console.print(f"- {line}", highlight=False)
    if "words_left_out" in result.provenance:
        reason = result.provenance["words_left_out"]
        console.print(f"- Not tested over words: {reason}", highlight=False)
    seconds = ", ".join(f"{k} {v:.1f}" for k, v in result.provenance["seconds"].items())
    console.print(f"seconds: {seconds}", highlight=False)
    console.print("written:")
    for path in written:
        console.print(f"  {path}", soft_wrap=True, highlight=False)


def _profile_table(table: pd.DataFrame) -> Table:
    """Share of significant units and accuracy of every layer, the sites side by side."""
    rule = table.iloc[0]
    view = Table(
        title="Units from which the class is decodable, by layer",
        caption=(
            f"sig.: significant units (Wald p, {rule.correction} per {rule.family}, alpha "
            f"{rule.alpha}); acc.: accuracy in sample, mean over tested units (base rate "
            f"{rule.base_rate:.1%}); untested: units without a valid fit (separated, constant ...)"
        ),
        padding=(0, 0),
    )
    sites = list(dict.fromkeys(table["site"]))
    view.add_column("layer", justify="right")
    for site in sites:
        view.add_column(f"{site}\nsig.", justify="right", no_wrap=True)
        view.add_column("\nacc.", justify="right", no_wrap=True)
    view.add_column("un-\ntested", justify="right", no_wrap=True)
    for layer, rows in table.groupby("layer", sort=False):
        by_site = rows.set_index("site").loc[sites]
        cells = [
            f"{value:.1%}"
            for row in by_site.itertuples()
            for value in (row.share_significant, row.accuracy)
        ]
        view.add_row(str(layer), *cells, str(int((rows["units"] - rows["tested"]).sum())))
    return view


def _word_table(table: pd.DataFrame) -> Table:
    """The notebook's figures beside those over words, per site."""
    view = Table(title="Word or category? Means over layers")
    names = {
        "share_significant": "significant\n(examples)",
        "share_significant_words": "significant\n(words, max-T)",
        "accuracy": "accuracy\nin sample",
        "held_out_accuracy": "accuracy, words\nleft out (balanced)",
        "selectivity": "selectivity",
    }
    names = {name: head for name, head in names.items() if name in table}
    view.add_column("site")
    for head in names.values():
        view.add_column(head, justify="right")
    for site, rows in table.groupby("site", sort=False):
        view.add_row(site, *(f"{rows[name].mean():.2%}" for name in names))
    return view


def comparison_table(table: pd.DataFrame) -> Table:
    """A column per contrast."""
    view = Table(title="Contrasts side by side: means over units", padding=(0, 0))
    names = {
        "examples_1": "n, class 1", "examples_0": "n, class 0", "words_1": "words, class 1",
        "words_0": "words, class 0", "base_rate": "base rate",
        "share_significant": "sig. by example", "share_significant_words": "sig. by word",
        "accuracy": "acc. in sample", "fold_accuracy": "acc. in folds",
        "held_out_accuracy": "acc., words left out", "selectivity": "selectivity",
        "best_unit": "best unit in folds", "best_fold_accuracy": "its accuracy",
        "heads_held_out": "heads, words left out", "best_head_held_out": "best head",
    }  # fmt: skip
    view.add_column("", no_wrap=True)
    for name in table["contrast"]:
        short = name.rsplit(", ")[-1].replace(" ", "\n", 1)
        view.add_column(short, justify="right", no_wrap=True)
    for name, title in names.items():
        if name in table:
            view.add_row(title, *(_cell(name, value) for value in table[name]))
    return view


def _cell(name: str, value: Any) -> str:
    if value is None or pd.isna(value):
        return "-"
    if name.startswith(("examples", "words")):
        return str(int(value))
    return value if isinstance(value, str) else f"{value:.1%}"


def _trend_table(table: pd.DataFrame) -> Table:
    view = Table(title="Trend over depth (Spearman)")
    for name in ("site", "column", "rho", "p", "layers"):
        view.add_column(name, justify="left" if name in ("site", "column") else "right")
    for row in table.itertuples():
        view.add_row(row.site, row.column, f"{row.rho:+.2f}", f"{row.p:.2g}", str(row.layers))
    return view
