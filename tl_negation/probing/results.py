"""What a probe found: one number per unit and column, aligned with layers and sites."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from .._shared import MARKER, validated, whole_directory
from ..activations import Activations
from ..corpus import Contexts
from ..fitting import OK, STATUSES
from ..models import UNIT, Site, unit_index
from .columns import COLUMNS, RANKS, READ_FIRST, TIE_BREAKERS
from .storage import (
    FORMAT_VERSION,
    as_column,
    read_contexts,
    read_csv,
    read_manifest,
    read_parquet,
    write_manifest,
)
from .summary import summary_lines


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
        where = pd.concat([unit_index(site) for site in self.sites], ignore_index=True)
        frame = pd.concat([where] * n_layers, ignore_index=True)
        frame.insert(0, "layer", np.repeat(self.layers, len(where)))
        frame["site"] = pd.Categorical(frame["site"], [site.name for site in self.sites])
        order = [name for name in COLUMNS if name in self.columns]
        order += [name for name in self.columns if name not in COLUMNS]
        values = {name: self.columns[name].flatten().cpu().numpy() for name in order}
        values["status"] = pd.Categorical.from_codes(values["status"], STATUSES)
        return frame.assign(**values)

    @validated
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
        first = [n for n in (*UNIT, "status", by, *READ_FIRST) if n in best]
        return best[list(dict.fromkeys([*first, *(best if full else ())]))]

    def summary(self) -> str:
        """Say what was found in a few sentences: the notebook's count and the claim over words.

        The second needs the columns of :func:`tl_negation.infer`.
        """
        return "\n".join(summary_lines(self))

    @validated
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


@validated
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
    manifest = read_manifest(folder / MARKER)
    sites = tuple(Site(**site) for site in manifest["sites"])
    layers = tuple(manifest["layers"])
    frame = read_parquet(folder / "units.parquet")
    expected = len(layers) * sum(site.width for site in sites)
    if len(frame) != expected or not {*UNIT, *COLUMNS} <= set(frame.columns):
        raise ValueError(
            f"{folder / 'units.parquet'} should hold {expected} rows with the columns "
            f"{', '.join(COLUMNS)}; it holds {len(frame)} with {', '.join(frame.columns)}: "
            "the run is damaged, scan again"
        )
    columns = {name: as_column(frame[name], len(layers)) for name in frame if name not in UNIT}
    examples = read_contexts(folder / "contexts.parquet", manifest["audit"]["examples"])
    contexts = Contexts.from_frame(examples, **manifest["contexts"])
    shown = folder / "display.parquet"
    display = read_parquet(shown) if shown.exists() else None
    provenance = manifest["provenance"]
    tables = {name: read_csv(folder / f"{name}.csv") for name in manifest.get("tables", [])}
    return ProbeResult(columns, sites, layers, contexts, provenance, display=display, tables=tables)


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
