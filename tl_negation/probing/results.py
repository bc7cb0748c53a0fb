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
from pandas.api.types import is_bool_dtype
from torch import Tensor

from .._shared import MARKER, expanded, recover, validated, whole_directory
from ..activations import Activations
from ..corpus import Contexts
from ..fitting import STATUSES
from ..models import UNIT, Site, unit_index
from .claims import by_example, over_words
from .columns import coded, in_order, ranks, read_first, tie_breakers
from .example_tests import has_test
from .origins import from_result
from .storage import (
    FORMAT_VERSION,
    check_files,
    check_table_name,
    read_contexts,
    read_csv,
    read_display,
    read_manifest,
    read_units,
    reading,
    write_manifest,
    write_tables,
)
from .summary import summary_lines


@dataclass(frozen=True, repr=False)
class ProbeResult:
    """Statistics of every unit of every layer: tensors ``[layer, unit]``.

    Every column is also an attribute (``result.beta``); ``tl_negation.COLUMNS`` and
    ``tl_negation.WORD_COLUMNS`` say what each one means. The sites are side by side along
    ``unit``; :meth:`split` cuts them apart. A unit whose fit has no valid estimate (see ``status``)
    has NaN there.

    Attributes
    ----------
    columns
        Column name -> tensor ``[layer, unit]``: float64, except ``status`` (int8, an index into
        ``tl_negation.STATUSES``; ``firth_status`` likewise) and the columns ``significant`` ...
        (bool).
    sites
        The sites side by side, in order.
    layers
        Layer number of each row.
    contexts
        The examples that the probe was fitted on.
    provenance
        Model, hooks, versions, family, correction and level: JSON-able.
    activations
        What the probe was fitted on; None in a result read from disk.
    display
        ``layer, site, head, index, example, tokens, values``: the strongest units' activations
        over whole windows, for the views of a report; None if they were not collected.
    tables
        Tables that do not have a row per unit, by name: ``heads`` (of
        :func:`tl_negation.head_probe`), ``held_out_by_word`` (of :func:`tl_negation.held_out`),
        ``lexical_null`` (of :func:`tl_negation.null_bands`) ...

    Notes
    -----
    A result does not show that the model *uses* a unit. It shows that the category can be decoded
    from the unit's activation; whether what is decoded is the category or the word is another
    question (:func:`tl_negation.infer`).

    Examples
    --------
    >>> result.beta.shape  # [layer, unit]
    torch.Size([3, 140])
    >>> result.status_counts()["ok"]
    420
    >>> list(result.split())
    ['q', 'k', 'v', 'mlp_pre']
    >>> list(result.top(3))  # doctest: +ELLIPSIS
    ['layer', 'site', 'head', 'index', 'status', 'words_t', 'significant_words', ...]
    >>> print(result.summary())  # doctest: +ELLIPSIS
    Over words, 0 of 12 layer-site groups pass (max-T over the groups, alpha 0.05); ...
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
        known = ", ".join(in_order(self.__dict__.get("columns", ())))
        raise AttributeError(f"a ProbeResult has no {name!r}; its columns are {known}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.columns})

    @property
    def tested(self) -> Bool[Tensor, "layer unit"]:
        """Which units the test exists for by which units are ``significant``.

        The likelihood-ratio test exists for separated units, too; Wald's for those whose fit has
        an estimate (status ok).
        """
        return has_test(self.columns, self.provenance["test"])

    def with_table(self, name: str, table: pd.DataFrame) -> "ProbeResult":
        """Add a table that does not have a row per unit, such as that of the heads.

        Raises
        ------
        ValueError
            The name may not become that of a file.
        """
        check_table_name(name)
        return replace(self, tables={**self.tables, name: table})

    def status_counts(self) -> dict[str, int]:
        """Count the units of each status."""
        codes = self.columns["status"].flatten().long().cpu()
        counts = torch.bincount(codes, minlength=len(STATUSES)).tolist()
        return dict(zip(STATUSES, counts, strict=True))

    @property
    def base_rate(self) -> float:
        """Share of the larger class: the accuracy of guessing it every time."""
        share = float(self.contexts.labels.double().mean())
        return max(share, 1 - share)

    def with_columns(self, columns: Mapping[str, Tensor], **about: Any) -> "ProbeResult":
        """Replace the columns; ``about`` goes into the provenance and says how they were made."""
        return replace(self, columns=columns, provenance={**self.provenance, **about})

    def split(self) -> dict[str, "ProbeResult"]:
        """Cut the result at the sites' widths: site name -> result of that site alone.

        Widths may differ: grouped-query attention has fewer key and value heads than query heads.
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
        """Make a table with a row per unit: layer, site, head, index in the head, every column.

        The columns of ``tl_negation.COLUMNS`` come first, in that order.
        """
        n_layers = len(self.layers)
        where = pd.concat([unit_index(site) for site in self.sites], ignore_index=True)
        frame = pd.concat([where] * n_layers, ignore_index=True)
        frame.insert(0, "layer", np.repeat(self.layers, len(where)))
        frame["site"] = pd.Categorical(frame["site"], [site.name for site in self.sites])
        values: dict[str, Any] = {
            name: self.columns[name].flatten().cpu().numpy() for name in in_order(self.columns)
        }
        for name, codes in coded(values).items():
            dtype = pd.CategoricalDtype(list(codes))
            values[name] = pd.Categorical.from_codes(values[name], dtype=dtype)
        return frame.assign(**values)

    @validated
    def top(self, n: int = 10, by: str | None = None, *, full: bool = False) -> pd.DataFrame:
        """Return the ``n`` units with the strongest evidence, best first.

        Parameters
        ----------
        n
            How many.
        by
            The column to rank by, by size: a test statistic or a standardised effect. By default
            ``words_t``, the statistic over words, where that test was run, and otherwise ``lr``:
            the likelihood ratio does not depend on a unit's scale (raw beta does), does not
            collapse for strong effects (Wald does), and is defined for separated units too. They
            all share its largest value: ties are broken by the larger ``lr``, then by the larger
            ``score`` (classes farther apart, in SD of the unit), then by the order of the units.
        full
            All columns of :meth:`to_frame`, instead of those that a reader looks for first.

        Returns
        -------
        DataFrame
            Rows of :meth:`to_frame` with its row numbers: where the unit is, its status, what
            ranked it, what holds over words, then effect, accuracies and significance by example;
            with ``full``, then every other column.

        Raises
        ------
        TypeError
            Arguments of another type, named.
        ValueError
            ``n`` is below 1, or the column does not rank units.

        Examples
        --------
        >>> best = result.top(5, by="auc")
        >>> bool(((best["auc"] - 0.5).abs().diff().dropna() <= 0).all())
        True
        """
        by = self.ranked_by if by is None else by
        known = [name for name in ranks() if name in self.columns]
        if by not in known:
            raise ValueError(f"units are ranked by one of {', '.join(known)}; got {by!r}")
        if n < 1:
            raise ValueError(f"the number of units must be at least 1; got {n}")
        frame = self.to_frame()
        size = (frame[by] - 0.5).abs() if by == "auc" else frame[by].abs()
        keys = [size, *(frame[name] for name in tie_breakers() if name in frame)]
        order = np.lexsort([-key.fillna(-np.inf) for key in reversed(keys)])  # stable
        best = frame.iloc[order[: min(n, int(size.notna().sum()))]]  # those without a value last
        first = [name for name in (*UNIT, "status", by, *read_first()) if name in best]
        shown = best[list(dict.fromkeys([*first, *(best if full else ())]))]
        return from_result(shown, self)

    @validated
    def select(self, condition: str) -> pd.DataFrame:
        """Return the units that fulfil a condition on the columns of :meth:`to_frame`.

        Parameters
        ----------
        condition
            As pandas' ``DataFrame.query`` reads it.

        Returns
        -------
        DataFrame
            Rows of :meth:`to_frame` with its row numbers; without rows if there is no such unit.

        Raises
        ------
        ValueError
            The condition cannot be read, names a column that there is not, or is no condition.

        Examples
        --------
        >>> found = result.select("site == 'k' and layer > 0 and significant_words")
        >>> bool((found["site"] == "k").all())
        True
        """
        frame = self.to_frame()
        try:
            chosen = frame.eval(condition)
        except Exception as error:  # an expression may raise anything
            raise ValueError(
                f"cannot select by {condition!r} ({error}); a condition is of the columns "
                f"{', '.join(map(str, frame))}, as \"significant and site == 'k'\""
            ) from error
        if not isinstance(chosen, pd.Series) or not is_bool_dtype(chosen):
            raise ValueError(
                f'{condition!r} says no yes or no of each unit; a condition does, as "layer > 3"'
            )
        # A unit whose head is missing fulfils no condition on heads.
        return from_result(frame[chosen.fillna(False).astype(bool)], self)

    @property
    def ranked_by(self) -> str:
        """The column by which :meth:`top` ranks if it is not told: over words, where that ran."""
        return "words_t" if "words_t" in self.columns else "lr"

    def summary(self) -> str:
        """Say what was found in a few sentences: what holds over words, then the count by example.

        The claim over words needs the columns of :func:`tl_negation.infer`.
        """
        return "\n".join(summary_lines(self))

    @validated
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the result into a new directory: all of its files, or none.

        The files are ``units.parquet``, ``contexts.parquet``, ``run.json``, a CSV file for each
        of ``tables``, and ``display.parquet`` where there is something to display. Activations
        are not written.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        FileExistsError
            The directory holds something that may not be replaced.

        Examples
        --------
        >>> folder = result.save("run")
        >>> sorted(path.name for path in folder.iterdir())  # doctest: +ELLIPSIS
        ['contexts.parquet', ..., 'groups.csv', ..., 'run.json', 'units.parquet']
        """
        with whole_directory(path, overwrite=overwrite) as folder:
            self.write_into(folder)
        return expanded(path)

    def write_into(self, folder: Path) -> None:
        """Write the files of :meth:`save` into an existing directory."""
        self.to_frame().to_parquet(folder / "units.parquet", index=False)
        self.contexts.to_frame().to_parquet(folder / "contexts.parquet", index=False)
        if self.display is not None:
            self.display.to_parquet(folder / "display.parquet", index=False)
        write_tables(folder, self.tables)
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
            "columns": in_order(self.columns),
            "tables": list(self.tables),
            "provenance": dict(self.provenance),
        }

    def __repr__(self) -> str:
        outcomes = ", ".join(f"{n:,} {status}" for status, n in self.status_counts().items() if n)
        widths = ", ".join(f"{site.name} {site.width:,}" for site in self.sites)
        return (
            f"ProbeResult of {self.provenance['model'].get('name', 'a model')}: "
            f"{len(self.layers)} layers x ({widths}) units on {len(self.contexts)} contexts\n"
            f"  {over_words(self)}\n"
            f"  {by_example(self)}\n"
            f"  units: {outcomes}; base rate {self.base_rate:.1%}"
        )

    def _repr_html_(self) -> str:
        by = escape(self.ranked_by)
        table = self.top(5).to_html(index=False, float_format="{:.3g}".format, na_rep="none")
        return f"<pre>{escape(repr(self))}</pre><p>units with the largest {by}</p>{table}"


@validated
def load_result(path: str | Path, *, verify: bool = True) -> ProbeResult:
    """Read a result that :meth:`ProbeResult.save` or a scan wrote.

    Activations are not stored: what needs them asks for a new :func:`tl_negation.collect`.

    Parameters
    ----------
    path
        The directory of the run. If a scan was killed while it put a run there, the run that is
        complete is put there first: the new one, or else the earlier one.
    verify
        Compare the SHA-256 of every file with the one that was recorded. That costs as much as
        reading the files once more. Without it, only the JSON file is compared with its own, and
        whatever does not fit together is still refused.

    Returns
    -------
    ProbeResult
        With every column and table as it was, to the last bit. Runs of version 0.1.0 are read
        too; they recorded no hashes.

    Raises
    ------
    FileNotFoundError
        There is no such directory, or one of its files is missing.
    ValueError
        A file is damaged, of another format, or does not fit the others.

    Examples
    --------
    >>> again = tln.load_result(result.save("run"))
    >>> torch.equal(again.lr, result.lr), again.activations
    (True, None)
    """
    folder = expanded(path)
    if not folder.exists():
        recover(folder)
    manifest, tables = read_manifest(folder / MARKER)
    if verify:
        check_files(folder, manifest)
    sites = tuple(Site(**site) for site in manifest["sites"])
    layers = tuple(manifest["layers"])
    columns = read_units(folder / "units.parquet", sites, layers, manifest)
    contexts = read_contexts(folder / "contexts.parquet", manifest)
    display = read_display(folder / "display.parquet", contexts, sites, layers, manifest)
    tables |= {name: read_csv(folder / f"{name}.csv") for name in manifest.get("tables", [])}
    provenance = manifest["provenance"]
    result = ProbeResult(
        columns, sites, layers, contexts, provenance, display=display, tables=tables
    )
    with reading(folder / MARKER):
        for says in (repr, summary_lines):  # whatever they need of the provenance is there
            says(result)
    return result


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
