"""What a probe found: one number per unit and column, aligned with layers and sites."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from ._checks import INTEGER, PATH, takes
from ._files import MARKER, whole_directory
from ._newton import OK, STATUSES
from ._summary import summary_lines
from .activations import Activations
from .contexts import COLUMNS as EXAMPLE_COLUMNS
from .contexts import Contexts
from .sites import Site

#: Every column of a result: what it is and in which unit it is measured.
COLUMNS = {
    "status": f"outcome of the fit: {', '.join(STATUSES)}",
    "beta": "slope: change of the log-odds of class 1 per unit of activation",
    "intercept": "log-odds of class 1 at activation 0",
    "se": "standard error of beta, from the expected information",
    "z": "Wald statistic beta / se",
    "p": "two-sided Wald p value",
    "log10_p": "log10 of p; does not underflow",
    "lr": "likelihood-ratio statistic against the intercept alone, 1 degree of freedom",
    "lr_p": "p value of lr, chi-square with 1 degree of freedom",
    "beta_per_sd": "change of the log-odds per standard deviation (population) of the unit",
    "accuracy": "in-sample share of examples on the right side of p = 0.5",
    "balanced_accuracy": "in-sample mean of the two classes' accuracies at p = share of class 1",
    "auc": "area under the ROC curve; above 0.5 where larger activations mean class 1",
    "significant": "Wald p passes the named correction over the named family",
    "score": "Rao's score statistic n r^2, r the point-biserial correlation; needs no fit",
    "score_p": "p value of score, chi-square with 1 degree of freedom",
}
#: Columns that the functions of :mod:`tl_negation.inference` add.
WORD_COLUMNS = {
    "words_t": "pooled t between the two classes' word-type means",
    "words_p": "permutation p value of words_t for the unit by itself",
    "words_p_maxt": "the same, step-down max-T over the named family",
    "significant_words": "words_p_maxt passes the level: the claim that a paper may make",
    "held_out_accuracy": "accuracy on word types left out, mean over words, then over classes",
    "held_out_macro": "accuracy on word types left out, plain mean over words",
    "fold_accuracy": "balanced accuracy in cross-validation, folds stratified by word type",
    "block_accuracy": "balanced accuracy in cross-validation over blocks of the text",
    "document_accuracy": "balanced accuracy in cross-validation, each document whole in one fold",
    "control_accuracy": "mean fold accuracy on control tasks that only the words decide",
    "selectivity": "fold accuracy minus control accuracy (Hewitt & Liang 2019)",
    "cluster_se": "standard error of beta that allows for words as clusters",
    "cluster_t": "beta / cluster_se",
    "cluster_p": "p value of cluster_t with (word types - 1) degrees of freedom",
    **{
        f"firth_{name}": f"{name} of Firth's penalised fit, for units without an ordinary one"
        for name in ("intercept", "beta", "se", "lr", "p", "beta_per_sd", "accuracy")
    },
    "firth_balanced_accuracy": "balanced accuracy of Firth's penalised fit",
}
#: Columns that rank units: free of the unit's scale, larger (in size) is stronger.
RANKS = (
    "lr", "z", "score", "beta_per_sd", "log10_p", "accuracy", "balanced_accuracy", "auc",
    "words_t", "held_out_accuracy", "fold_accuracy", "block_accuracy", "document_accuracy",
    "selectivity", "firth_lr",
)  # fmt: skip
#: Columns that a table of units begins with, after where the unit is and what ranked it.
READ_FIRST = (
    "beta_per_sd", "accuracy", "auc", "significant", "held_out_accuracy", "words_p_maxt",
    "significant_words",
)  # fmt: skip
#: What decides between units that rank alike: all separated units have one likelihood ratio, but
#: the score statistic tells how far apart, in SD, their classes lie.
TIE_BREAKERS = ("lr", "score")
INDEX_COLUMNS = ("layer", "site", "head", "index")
FORMAT_VERSION = 1
_MANIFEST = ("sites", "layers", "contexts", "audit", "provenance")


@dataclass(frozen=True, repr=False)
class ProbeResult:
    """Statistics of every unit of every layer: tensors ``[layer, unit]``.

    Every column named in :data:`COLUMNS` is also an attribute (``result.beta``). The sites lie
    side by side along ``unit``; :meth:`split` cuts them apart. A unit whose fit has no valid
    estimate (see ``status``) carries NaN.

    What it does not show: that the model *uses* a unit. A unit's category is decodable from its
    activation; whether the word or the category is what is decoded is another question again.

    Attributes
    ----------
    columns
        Column name -> tensor ``[layer, unit]``: float64, but ``status`` (int8, an index into
        ``tl_negation.STATUSES``) and ``significant`` (bool).
    sites
        The sites side by side, in order.
    layers
        Layer number of each row.
    contexts
        The examples the probe was fitted on.
    provenance
        Model, hooks, versions, family, correction and level: JSON-able.
    activations
        What the probe was fitted on; None in a result read from disk.
    display
        ``layer, site, head, index, example, tokens, values``: the strongest units' activations
        over whole windows, for the views of a report; None if they were not collected.
    tables
        Tables that are not a row per unit, by name (``heads``: that of
        :func:`tl_negation.head_probe`).
    """

    columns: Mapping[str, Tensor]
    sites: tuple[Site, ...]
    layers: tuple[int, ...]
    contexts: Contexts
    provenance: Mapping[str, Any]
    activations: Activations | None = None
    display: pd.DataFrame | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Tensor:
        if name != "columns" and name in self.columns:
            return self.columns[name]
        raise AttributeError(f"a ProbeResult has no {name!r}; its columns are {', '.join(COLUMNS)}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.columns})

    @property
    def tested(self) -> Bool[Tensor, "layer unit"]:
        """Units whose fit is valid (status ok)."""
        return self.columns["status"] == OK

    def with_table(self, name: str, table: pd.DataFrame) -> "ProbeResult":
        """Add a table that is not a row per unit, such as that of the heads."""
        return replace(self, tables={**self.tables, name: table})

    def status_counts(self) -> dict[str, int]:
        """Number of units of each status."""
        codes = self.columns["status"].flatten().long().cpu()
        counts = torch.bincount(codes, minlength=len(STATUSES)).tolist()
        return dict(zip(STATUSES, counts, strict=True))

    @property
    def base_rate(self) -> float:
        """Share of the larger class: the accuracy of a guess that never looks."""
        share = float(self.contexts.labels.double().mean())
        return max(share, 1 - share)

    def with_columns(self, columns: Mapping[str, Tensor], **about: Any) -> "ProbeResult":
        """Replace the columns and add to the provenance how the new ones were made."""
        return replace(self, columns=columns, provenance={**self.provenance, **about})

    def split(self) -> dict[str, "ProbeResult"]:
        """Cut the result at the sites' widths: site name -> result of that site alone.

        Widths need not be equal: grouped-query attention has fewer key and value heads.
        """
        widths = [site.width for site in self.sites]
        cut = {name: torch.split(column, widths, dim=1) for name, column in self.columns.items()}
        return {
            site.name: replace(
                self,
                columns={name: parts[i] for name, parts in cut.items()},
                sites=(site,),
                activations=self.activations and _only(self.activations, site),
            )
            for i, site in enumerate(self.sites)
        }

    def to_frame(self) -> pd.DataFrame:
        """A row per unit: layer, site, head, index within the head, then every column.

        Those of :data:`COLUMNS` come first, in that order.
        """
        n_layers = len(self.layers)
        where = pd.concat([_unit_index(site) for site in self.sites], ignore_index=True)
        frame = pd.concat([where] * n_layers, ignore_index=True)
        frame.insert(0, "layer", np.repeat(self.layers, len(where)))
        frame["site"] = pd.Categorical(frame["site"], [site.name for site in self.sites])
        order = [name for name in COLUMNS if name in self.columns]
        order += [name for name in self.columns if name not in COLUMNS]
        values = {name: self.columns[name].flatten().cpu().numpy() for name in order}
        values["status"] = pd.Categorical.from_codes(values["status"], STATUSES)
        return frame.assign(**values)

    @takes(n=INTEGER)
    def top(self, n: int = 10, by: str = "lr", *, full: bool = False) -> pd.DataFrame:
        """The ``n`` units with the strongest evidence, best first.

        Parameters
        ----------
        n
            How many.
        by
            Ranked by the size of a test or standardised column; the default, the likelihood
            ratio, neither depends on a unit's scale (as raw beta does) nor collapses for strong
            effects (as Wald does), and is defined for separated units too. All of those share
            its largest value: among equals the larger ``lr``, then the larger ``score`` (classes
            farther apart, in SD of the unit), then the order of the units decides.
        full
            All columns of :meth:`to_frame`, instead of those that a reader looks for first.

        Returns
        -------
        DataFrame
            Rows of :meth:`to_frame` with its row numbers: where the unit is, its status, what
            ranked it, effect, accuracies, significance; with ``full``, then all else.

        Raises
        ------
        ValueError
            ``n`` below 1, or a column that does not rank units.
        """
        ranks = [name for name in RANKS if name in self.columns]
        if by not in ranks:
            raise ValueError(f"units are ranked by one of {', '.join(ranks)}; got {by!r}")
        if n < 1:
            raise ValueError(f"the number of units must be at least 1; got {n}")
        frame = self.to_frame()
        size = (frame[by] - 0.5).abs() if by == "auc" else frame[by].abs()
        keys = [size, *(frame[name] for name in TIE_BREAKERS if name in frame)]
        order = np.lexsort([-key.fillna(-np.inf) for key in reversed(keys)])  # stable
        best = frame.iloc[order[: min(n, int(size.notna().sum()))]]  # those without a value last
        first = [n for n in (*INDEX_COLUMNS, "status", by, *READ_FIRST) if n in best]
        return best[list(dict.fromkeys([*first, *(best if full else ())]))]

    def summary(self) -> str:
        """Say what was found in a few sentences: the notebook's count and the claim over words.

        The second needs the columns of :func:`tl_negation.infer`.
        """
        return "\n".join(summary_lines(self))

    @takes(path=PATH)
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write units.parquet, contexts.parquet and run.json into a new directory, or nothing.

        Raises
        ------
        FileExistsError
            The directory holds something that may not be replaced.
        """
        with whole_directory(path, overwrite=overwrite) as folder:
            self.write_into(folder)
        return Path(path)

    def write_into(self, folder: Path) -> None:
        """Write the files of :meth:`save` into an existing directory."""
        self.to_frame().to_parquet(folder / "units.parquet", index=False)
        self.contexts.to_frame().to_parquet(folder / "contexts.parquet", index=False)
        if self.display is not None:
            self.display.to_parquet(folder / "display.parquet", index=False)
        for name, table in self.tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        write_manifest(folder, self._manifest())

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": "tl_negation run",
            "format_version": FORMAT_VERSION,
            "sites": [asdict(site) for site in self.sites],
            "layers": list(self.layers),
            "contexts": self.contexts.manifest(),
            "audit": self.contexts.counts(),
            "status": self.status_counts(),
            "tables": list(self.tables),
            "provenance": dict(self.provenance),
        }

    def __repr__(self) -> str:
        outcomes = ", ".join(f"{n:,} {status}" for status, n in self.status_counts().items() if n)
        widths = ", ".join(f"{site.name} {site.width:,}" for site in self.sites)
        passed = int(self.columns["significant"].sum())
        rule = "{correction} per {family}, alpha {alpha}".format(**self.provenance["test"])
        return (
            f"ProbeResult of {self.provenance['model'].get('name', 'a model')}: "
            f"{len(self.layers)} layers x ({widths}) units on {len(self.contexts)} contexts\n"
            f"  units: {outcomes}\n"
            f"  significant (Wald, {rule}): {passed:,}; base rate {self.base_rate:.1%}"
        )

    def _repr_html_(self) -> str:
        table = self.top(5).to_html(index=False, float_format="{:.3g}".format, na_rep="none")
        return f"<pre>{escape(repr(self))}</pre><p>strongest units by likelihood ratio</p>{table}"


@takes(path=PATH)
def load_result(path: str | Path) -> ProbeResult:
    """Read a result that :meth:`ProbeResult.save` or a scan wrote.

    Activations are not stored: what needs them asks for a new :func:`tl_negation.collect`.

    Raises
    ------
    FileNotFoundError
        The directory or one of its three files is missing.
    ValueError
        A file is damaged, of another format, or does not fit the others.
    """
    folder = Path(path)
    manifest = _read_manifest(folder / MARKER)
    sites = tuple(Site(**site) for site in manifest["sites"])
    layers = tuple(manifest["layers"])
    frame = _read_parquet(folder / "units.parquet")
    expected = len(layers) * sum(site.width for site in sites)
    if len(frame) != expected or not {*INDEX_COLUMNS, *COLUMNS} <= set(frame.columns):
        raise ValueError(
            f"{folder / 'units.parquet'} should hold {expected} rows with the columns "
            f"{', '.join(COLUMNS)}; it holds {len(frame)} with {', '.join(frame.columns)}: "
            "the run is damaged, scan again"
        )
    columns = {
        name: _column(frame[name], len(layers)) for name in frame if name not in INDEX_COLUMNS
    }
    examples = _read_contexts(folder / "contexts.parquet", manifest["audit"]["examples"])
    contexts = Contexts.from_frame(examples, **manifest["contexts"])
    shown = folder / "display.parquet"
    display = _read_parquet(shown) if shown.exists() else None
    provenance = manifest["provenance"]
    tables = {name: _read_csv(folder / f"{name}.csv") for name in manifest.get("tables", [])}
    return ProbeResult(columns, sites, layers, contexts, provenance, display=display, tables=tables)


def jsonable(value: Any) -> Any:
    """Copy what JSON is to hold, with null for the numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {name: jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the JSON file by which a run directory is known."""
    text = json.dumps(jsonable(manifest), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def _unit_index(site: Site) -> pd.DataFrame:
    unit = np.arange(site.width)
    return pd.DataFrame(
        {"site": site.name, "head": unit // site.d_head, "index": unit % site.d_head}
    )


def _column(values: pd.Series, n_layers: int) -> Tensor:
    if values.name == "status":
        array = pd.Categorical(values, categories=STATUSES).codes.astype(np.int8)
    else:
        array = values.to_numpy(copy=True)
    return torch.from_numpy(array).reshape(n_layers, -1)


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no run directory {path.parent}; `scan` writes one")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); scan again") from error
    known = isinstance(manifest, dict) and manifest.get("format") == "tl_negation run"
    if not known or manifest.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} is not a run of format {FORMAT_VERSION} of tl_negation; scan again with "
            "this version"
        )
    missing = [name for name in _MANIFEST if name not in manifest]
    if missing:
        raise ValueError(f"{path} is damaged (it lacks {', '.join(missing)}); scan again")
    return manifest


def _read_contexts(path: Path, n_examples: int) -> pd.DataFrame:
    frame = _read_parquet(path)
    # Runs of version 0.1.0 have no column of the document.
    columns = [name for name in (*EXAMPLE_COLUMNS, "tokens") if name != "document"]
    if len(frame) != n_examples or not {*columns} <= set(frame.columns):
        raise ValueError(
            f"{path} should hold {n_examples} rows with the columns {', '.join(columns)}; it holds "
            f"{len(frame)} with {', '.join(frame.columns)}: the run is damaged, scan again"
        )
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        return pd.read_csv(path, engine="pyarrow")  # pandas 2 rounds with its own
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path} is damaged ({error}); scan again") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); scan again") from error


def _only(acts: Activations, site: Site) -> Activations:
    return replace(acts, values=acts.site(site.name), sites=(site,))


def needs_activations(result: ProbeResult, what: str) -> Activations:
    """Return the activations behind a result.

    Raises
    ------
    ValueError
        The result was read from disk, where activations are not stored.
    """
    if result.activations is None:
        raise ValueError(
            f"{what} needs the activations, which a result read from disk does not hold; collect "
            "and probe again"
        )
    return result.activations


def unit_of(
    result: ProbeResult, row: pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Any]
) -> tuple[int, int]:
    """Row and column in the result's tensors of a unit named by layer, site, head and index.

    Raises
    ------
    ValueError
        The result has no such layer, site, head or index.
    """
    layer, name, head, index = _address(row)
    start = 0
    for site in result.sites:
        if site.name == name:
            break
        start += site.width
    else:
        names = ", ".join(site.name for site in result.sites)
        raise ValueError(f"the result has the sites {names}; got {name!r}")
    if layer not in result.layers:
        raise ValueError(f"the result has the layers {list(result.layers)}; got {layer}")
    if not (0 <= head < site.heads and 0 <= index < site.d_head):
        raise ValueError(
            f"site {name} has {site.heads} heads of {site.d_head} units; got head {head}, "
            f"index {index}"
        )
    return result.layers.index(layer), start + head * site.d_head + index


def _address(row: Any) -> tuple[int, str, int, int]:
    if isinstance(row, pd.DataFrame):
        if len(row) != 1:
            raise ValueError(f"one unit is wanted; got a table of {len(row)} rows")
        row = row.iloc[0]
    if isinstance(row, (Mapping, pd.Series)):
        missing = [name for name in INDEX_COLUMNS if name not in row]
        if missing:
            raise ValueError(f"a unit is named by {', '.join(INDEX_COLUMNS)}; got no {missing[0]}")
        row = [row[name] for name in INDEX_COLUMNS]
    layer, site, head, index = row
    return int(layer), str(site), int(head), int(index)
