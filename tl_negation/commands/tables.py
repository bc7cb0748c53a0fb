"""What a command prints: tables and sentences for the terminal, JSON for machines."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..probing import ProbeResult, basis_of, example_test, level_over_words, trend
from ..runs import read_profile, summary

#: Words, names and paths are printed as they are: "[red]" in one is no colour.
console = Console(markup=False, emoji=False)


def print_path(says: str, path: str | Path) -> None:
    """Print where something is now, on one line that can be copied."""
    console.print(Text.assemble(f"{says} ", (str(path), "bold")), soft_wrap=True)


def print_run(result: ProbeResult, out: Path, *, as_json: bool) -> None:
    """Print what a scan found, and the files that it wrote."""
    table = read_profile(out)
    written = sorted(str(path) for path in out.rglob("*") if path.is_file())
    if as_json:
        print(json.dumps({**summary(result, table=table), "written": written}))
        return
    views = (_word_table(table), _profile_table(table), _trend_table(trend(table)))
    over = basis_of(result).name
    for view in (*_group_tables(table, over, level_over_words(result)), *views):
        console.print(view)
    for line in result.summary().splitlines():
        console.print(f"- {line}", highlight=False)
    seconds = ", ".join(f"{k} {v:.1f}" for k, v in result.provenance["seconds"].items())
    console.print(f"seconds: {seconds}", highlight=False)
    console.print("written:")
    for path in written:
        console.print(f"  {path}", soft_wrap=True, highlight=False)


def _group_tables(table: pd.DataFrame, over: str, level: float) -> Iterator[Table]:
    """Share of units tuned over words in every layer, the sites side by side, if it was tested."""
    share = f"share_{over}"
    if share not in table:
        return
    view = Table(
        title=f"Units from which the category is decodable over {over}, by layer",
        caption=(
            f"sig.: significant over {over}, each unit by itself (alpha {level}); null: 95 % of "
            f"the labelings of the {over} stay below; * passes over all layers and sites at "
            "once (max-T); least: the share that is tuned at least, with 95 % confidence"
        ),
        padding=(0, 0),
    )
    sites = list(dict.fromkeys(table["site"]))
    view.add_column("layer", justify="right")
    for site in sites:
        view.add_column(f"{site}\nsig.", justify="right", no_wrap=True)
        view.add_column("\nnull", justify="right", no_wrap=True)
        view.add_column("\nleast", justify="right", no_wrap=True)
    for layer, rows in table.groupby("layer", sort=False):
        cells = []
        for row in rows.set_index("site").loc[sites].to_dict("records"):
            star = "*" if row[f"{share}_p_maxt"] <= level else " "
            ends = (row[f"{share}_high"], row[f"at_least_{over}"])
            cells += [f"{row[share]:.0%}{star}", *(f"{end:.0%}" for end in ends)]
        view.add_row(str(layer), *cells)
    yield view


def _profile_table(table: pd.DataFrame) -> Table:
    """Share of significant units and accuracy of every layer, the sites side by side."""
    rule = table.iloc[0].to_dict()
    view = Table(
        title="Units from which the class is decodable by example, by layer",
        caption=(
            f"sig.: significant by example ({example_test(rule).name} test, {rule['correction']} "
            f"per {rule['family']}, alpha {rule['alpha']}); acc.: accuracy in sample, mean over "
            f"tested units (base rate {rule['base_rate']:.1%}); untested: units that the test does "
            "not exist for (constant ...)"
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
        by_site = rows.set_index("site").loc[sites, ["share_significant", "accuracy"]]
        cells = [f"{value:.1%}" for value in by_site.to_numpy().ravel()]
        view.add_row(str(layer), *cells, str(int((rows["units"] - rows["tested"]).sum())))
    return view


def _word_table(table: pd.DataFrame) -> Table:
    """What holds over words, and the figures by example beside it, per site."""
    view = Table(title="Word or category? Means over layers")
    names = {
        "share_pairs": "sig. over\npairs",
        "share_pairs_expected": "ex-\npected",
        "share_words": "sig. over\nwords",
        "share_words_expected": "ex-\npected",
        "share_significant_words": "the same,\nmax-T",
        "held_out_accuracy": "acc., words\nleft out",
        "selectivity": "selec-\ntivity",
        "share_significant": "sig. by\nexample",
        "accuracy": "acc. in\nsample",
    }
    names = {name: head for name, head in names.items() if name in table}
    view.add_column("site")
    for head in names.values():
        view.add_column(head, justify="right")
    for site, rows in table.groupby("site", sort=False):
        view.add_row(str(site), *(f"{rows[name].mean():.2%}" for name in names))
    return view


def _trend_table(table: pd.DataFrame) -> Table:
    view = Table(title="Trend over depth (Spearman)")
    for name in ("site", "column", "rho", "layers"):
        view.add_column(name, justify="left" if name in ("site", "column") else "right")
    for row in table.to_dict("records"):
        numbers = (f"{row['rho']:+.2f}", str(row["layers"]))
        view.add_row(row["site"], row["column"], *numbers)
    return view


def comparison_table(table: pd.DataFrame) -> Table:
    """Show a column per contrast."""
    view = Table(title="Contrasts side by side: means over units", padding=(0, 0))
    names = {
        "examples_1": "n, class 1", "examples_0": "n, class 0", "words_1": "words, class 1",
        "words_0": "words, class 0", "base_rate": "base rate",
        "groups_passed": "groups that pass (max-T)", "groups": "of",
        "share_words": "sig. over words, alone", "share_words_expected": "expected",
        "at_least_words": "tuned at least", "share_significant_words": "sig. over words, max-T",
        "held_out_accuracy": "acc., words left out",
        "selectivity": "selectivity", "share_significant": "sig. by example",
        "accuracy": "acc. in sample", "fold_accuracy": "acc. in folds",
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
    if name.startswith(("examples", "words", "groups")):
        return str(int(value))
    return value if isinstance(value, str) else f"{value:.1%}"


def ablation_table(table: pd.DataFrame, about: Mapping[str, Any]) -> Table:
    """Show what replacing each selection of units did, beside what random units did."""
    r, n = about["correlation"], sum(about["contexts"].values())
    view = Table(
        title=f"Change of the log-probability of the next {about['follow']} tokens (nats)",
        caption=(
            f"units replaced ({about['how']}) at the target in {n} contexts; p: at most "
            f"{about['draws']} matched random sets, two-sided, each row by itself. The gradient's "
            f"estimate against the measurement of single units: r = {r['all']:.2f} (random units "
            f"{r['random']:.2f})"
        ),
    )
    for name in ("selection", "class"):
        view.add_column(name)
    for name in ("effect", "random, 95 %", "p"):
        view.add_column(name, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        band = f"{row['random_q025']:+.3f} to {row['random_q975']:+.3f}"
        cells = (f"{row['effect']:+.3f}", band, f"{row['p']:.2g}")
        view.add_row(row["selection"], row["class"], *cells)
    return view


def plan_table(table: pd.DataFrame) -> Table:
    """Show a plan, its stages apart from each other."""
    view = Table(title="Before a run: bytes and hours", padding=(0, 1))
    view.add_column("stage", no_wrap=True)
    view.add_column("quantity")
    view.add_column("value", justify="right", no_wrap=True)
    view.add_column("basis", style="dim")
    for stage, rows in table.groupby("stage", sort=False):
        view.add_section()
        first = str(stage)
        for row in rows.to_dict("records"):
            value = format_value(row["value"], row["unit"])
            view.add_row(first, row["quantity"], value, row["basis"])
            first = ""
    return view


def format_value(value: int | float, unit: str) -> str:
    """Write a value as people read it: 34.4 TB, 26 hours, 10,503,235."""
    if math.isnan(value):
        return "-"
    if unit == "s":
        return _duration(value)
    if unit:
        return _prefixed(value, unit)
    return f"{value:,.0f}"


def _prefixed(value: int | float, unit: str) -> str:
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    power = min(len(prefixes) - 1, max(0, int(math.log10(value) // 3))) if value > 0 else 0
    return f"{value / 1000**power:.3g} {prefixes[power]}{unit}"


def _duration(seconds: int | float) -> str:
    for size, name in ((365.25 * 86_400, "years"), (86_400, "days"), (3600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds / 60:.3g} minutes" if seconds >= 120 else f"{seconds:.3g} s"
