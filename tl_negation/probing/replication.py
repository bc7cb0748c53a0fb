"""Whether the units found in one text are found again in another, or in another model."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from .._shared import expanded, validated, whole_directory
from ..fitting import STATUSES
from .results import ProbeResult
from .storage import write_manifest, write_tables

#: Name of a test -> column that says which units it found, column of its signed statistic.
TESTS = {"examples": ("significant", "auc"), "words": ("significant_words", "words_t")}
SIGNIFICANT, ALL = "significant", "all"
#: Units of these outcomes have no effect that could have a sign.
NO_EFFECT = tuple(STATUSES.index(name) for name in ("constant", "nonfinite"))


class _Test(NamedTuple):
    """One test in both results."""

    name: str
    effects: Float[np.ndarray, "2 layer unit"]
    found: dict[str, Bool[np.ndarray, "2 layer unit"]]


class _Group(NamedTuple):
    """The units that a row of a table is about."""

    site: str
    layer: int | None
    units: Bool[np.ndarray, "layer unit"]


@dataclass(frozen=True, repr=False)
class Replication:
    """How far two results agree, unit by unit.

    Every table has the columns ``test`` (``examples``: the plain probe, effect ``auc - 0.5``;
    ``words``: the test over word types, effect ``words_t``), ``site`` (or ``all``) and ``layer``
    (missing in the rows over all layers).

    Attributes
    ----------
    overlap
        Units found in both: ``found`` (``significant`` or ``strongest N``), ``units`` (compared),
        ``first``, ``second`` and ``both`` (found there), ``expected`` (units in both if the two
        had nothing to do with each other), ``expected_by_layer`` (the same if they shared nothing
        but how many units each found in every layer and site), ``jaccard`` (``both`` over the
        units found in either), ``odds_ratio``.
    signs
        ``found`` (in the first result; ``all``: every unit), ``units`` (with an effect in both),
        ``agree`` (of the same sign), ``share``.
    ranks
        ``units``, ``rho`` (Spearman's rank correlation of the signed effects).
    provenance
        Model, text, contexts and words of both results: JSON-able.

    Notes
    -----
    There are no p values. The usual ones take units for independent, which they are not (units of a
    layer share their inputs, and the strongest are strong together): in unrelated results whose
    units are correlated a sign test at 5 % finds agreement far more often than that. What was
    sampled are words, and most results come from disk, without the activations that a permutation
    of words needs. Two texts with the same words replicate the words first of all; a contrast of
    other words of the same category tells whether anything beyond the words is replicated.

    Examples
    --------
    >>> found = tln.replicate(result, result, strongest=10)
    >>> found.overlap.query("site == 'q' and layer.isna()")[["test", "found", "both"]].iloc[1]
    test        examples
    found   strongest 10
    both ...
    """

    overlap: pd.DataFrame
    signs: pd.DataFrame
    ranks: pd.DataFrame
    provenance: Mapping[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """Put all numbers into one table: ``table, test, found, site, layer, name, value``."""
        keys = ["test", "found", "site", "layer"]
        long = []
        for name, table in self._tables().items():
            found = table if "found" in table else table.assign(found=ALL)
            rows = found.melt(keys, var_name="name", value_name="value")
            long.append(rows.assign(table=name))
        return pd.concat(long, ignore_index=True)[["table", *keys, "name", "value"]]

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write overlap.csv, signs.csv, ranks.csv and run.json into a new directory, or nothing.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        FileExistsError
            The directory holds something that may not be replaced.
        """
        with whole_directory(path, overwrite=overwrite) as folder:
            self.write_into(folder)
        return expanded(path)

    def write_into(self, folder: Path) -> None:
        """Write the files of :meth:`save` into an existing directory."""
        write_tables(folder, self._tables())
        about = {"format": "tl_negation replication", "format_version": 1}
        write_manifest(folder, {**about, "provenance": dict(self.provenance)})

    def summary(self) -> str:
        """Say in a few lines what the two results share, over all layers and sites."""
        first, second = self.provenance["first"], self.provenance["second"]
        shared = self.provenance["shared_words"]
        lines = [
            f"First: {_one_line(first)}.",
            f"Second: {_one_line(second)}; {len(shared)} of its {len(second['words'])} words are "
            "words of the first too.",
        ]
        if self.provenance["same_text"]:
            lines.append("Both rest on the same text: their agreement is not a replication.")
        for test in self.provenance["tests"]:
            lines += _test_lines(test, *(_whole(t, test) for t in self._tables().values()))
        return "\n".join(lines)

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {"overlap": self.overlap, "signs": self.signs, "ranks": self.ranks}

    def __repr__(self) -> str:
        return f"Replication\n{self.summary()}"

    def _repr_html_(self) -> str:
        tables = "".join(
            _over_layers(table).to_html(index=False, float_format="{:.3g}".format)
            for table in self._tables().values()
        )
        return f"<pre>{escape(repr(self))}</pre>{tables}"


@validated
def replicate(
    result: ProbeResult,
    other_result: ProbeResult,
    *,
    strongest: int = 100,
) -> Replication:
    """Test the units found in one text in another text, or in another model of the same shape.

    Parameters
    ----------
    result
        Where units were found.
    other_result
        Where they are looked for: the same layers and sites, of the same widths.
    strongest
        Number of units with the largest effect to compare, besides the significant ones (a
        strict test may leave none of those).

    Returns
    -------
    Replication
        Tables of overlap, signs and rank correlation, over all units, by site and by layer; for
        the plain probe and, where both results have it, for the test over words.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        The results differ in shape (the differences are named); ``strongest`` is below 1.

    Notes
    -----
    The units of another model match only if it is the same network in another state (a
    fine-tuned one, a later checkpoint): unit 7 of one network has nothing to do with unit 7 of
    another that was trained from other random weights, and all tables then show chance.
    Why there are no p values: see :class:`Replication`. A unit
    whose fit has no Wald test (separated: see ``status``) is never among the ``significant`` ones.
    Source: Spearman's rank correlation (scipy ``spearmanr``).

    Examples
    --------
    >>> found = tln.replicate(result, tln.probe(acts, progress=False))
    >>> print(found.summary())  # doctest: +ELLIPSIS
    First: negation in string, ..., 203 contexts.
    Second: negation in string, ..., 203 contexts; 13 of its 13 words are words of the first too.
    Both rest on the same text: their agreement is not a replication.
    By examples, significant: ... units in the first, ... in the second, ... in both ...
    """
    if strongest < 1:
        raise ValueError(f"strongest must be at least 1 unit; got {strongest}")
    _check_shape(result, other_result)
    both = (result, other_result)
    tests = [_read(name, both, strongest) for name in _tests_of(both)]
    groups = list(_groups(result))
    stratum = _strata(result)
    overlap, signs, ranks = [], [], []
    for test in tests:
        for group in groups:
            key = {"site": group.site, "layer": group.layer}
            overlap += [
                {"test": test.name, "found": found, **key, **_overlap(units, group, stratum)}
                for found, units in test.found.items()
            ]
            chosen = {**{name: units[0] for name, units in test.found.items()}, ALL: group.units}
            signs += [
                {"test": test.name, "found": found, **key}
                | _signs(test.effects[:, units & group.units])
                for found, units in chosen.items()
            ]
            ranks.append({"test": test.name, **key, **_ranks(test.effects[:, group.units])})
    return Replication(
        _table(overlap), _table(signs), _table(ranks), _provenance(both, tests, strongest)
    )


def _check_shape(result: ProbeResult, other: ProbeResult) -> None:
    differences = []
    if result.layers != other.layers:
        differences.append(f"layers {list(result.layers)} and {list(other.layers)}")
    shapes = [
        {site.name: f"{site.heads} x {site.d_head}" for site in compared.sites}
        for compared in (result, other)
    ]
    for name in dict.fromkeys([*shapes[0], *shapes[1]]):
        first, second = (shape.get(name, "not there") for shape in shapes)
        if first != second:
            differences.append(f"site {name} (heads x units) {first} and {second}")
    if not differences and result.sites != other.sites:
        order = [", ".join(site.name for site in found.sites) for found in (result, other)]
        differences.append(f"sites in another order or at other hooks: {order[0]} and {order[1]}")
    if differences:
        raise ValueError(
            f"results of the same layers and sites are needed; these differ in "
            f"{'; '.join(differences)}. Scan both with the same model shape, sites and layers"
        )


def _tests_of(both: tuple[ProbeResult, ProbeResult]) -> list[str]:
    return [
        name
        for name, needed in TESTS.items()
        if all({*needed} <= {*found.columns} for found in both)
    ]


def _read(name: str, both: tuple[ProbeResult, ProbeResult], strongest: int) -> _Test:
    significant, effect = TESTS[name]
    effects = np.stack([result.columns[effect].double().cpu().numpy() for result in both])
    status = np.stack([result.columns["status"].cpu().numpy() for result in both])
    effects = np.where(np.isin(status, NO_EFFECT), np.nan, effects - 0.5 * (effect == "auc"))
    passed = np.stack([result.columns[significant].cpu().numpy() for result in both])
    n = min(strongest, effects[0].size)
    largest = np.stack([_largest(of_result, n) for of_result in effects])
    found = {SIGNIFICANT: passed, f"strongest {n:,}": largest}
    return _Test(name, effects, found)


def _largest(effects: Float[np.ndarray, "layer unit"], n: int) -> Bool[np.ndarray, "layer unit"]:
    size = np.nan_to_num(np.abs(effects).ravel(), nan=-1.0, posinf=np.inf)
    chosen = np.zeros(size.shape, bool)
    chosen[np.argsort(-size, kind="stable")[:n]] = True
    return (chosen & (size >= 0)).reshape(effects.shape)


def _strata(result: ProbeResult) -> Int[np.ndarray, "layer unit"]:
    """Number the layer and site of every unit."""
    row = np.repeat(np.arange(len(result.sites)), [site.width for site in result.sites])
    return np.arange(len(result.layers))[:, None] * len(result.sites) + row


def _groups(result: ProbeResult) -> Iterator[_Group]:
    """All units, then by site, by layer, and by both."""
    widths = [site.width for site in result.sites]
    of_site = np.repeat([site.name for site in result.sites], widths)
    shape = (len(result.layers), len(of_site))
    names = [ALL, *(site.name for site in result.sites)] if len(widths) > 1 else [of_site[0]]
    for layer in (None, *result.layers):
        row = np.ones(shape[0], bool) if layer is None else np.array(result.layers) == layer
        for name in map(str, names):
            column = np.ones(shape[1], bool) if name == ALL else of_site == name
            yield _Group(name, layer, row[:, None] & column)


def _overlap(
    found: Bool[np.ndarray, "2 layer unit"], group: _Group, stratum: Int[np.ndarray, "layer unit"]
) -> dict[str, Any]:
    first, second = found[:, group.units]
    units, n_first, n_second = len(first), int(first.sum()), int(second.sum())
    both, either = int((first & second).sum()), int((first | second).sum())
    part = stratum[group.units]
    everywhere = np.ones(units)
    sizes, ones, twos = (np.bincount(part, weights=w) for w in (everywhere, first, second))
    with_units = sizes > 0
    by_layer = (ones * twos)[with_units] / sizes[with_units]
    with np.errstate(divide="ignore", invalid="ignore"):  # no unit in one of the four cells
        odds = np.float64(both * (units - either)) / ((n_first - both) * (n_second - both))
    return {
        "units": units,
        "first": n_first,
        "second": n_second,
        "both": both,
        "expected": n_first * n_second / units,
        "expected_by_layer": float(by_layer.sum()),
        "jaccard": both / either if either else np.nan,
        "odds_ratio": float(odds),
    }


def _signs(effects: Float[np.ndarray, "2 unit"]) -> dict[str, Any]:
    first, second = effects[:, ~np.isnan(effects).any(axis=0)]
    known = (first != 0) & (second != 0)
    n, agree = int(known.sum()), int((np.sign(first) == np.sign(second))[known].sum())
    return {
        "units": n,
        "agree": agree,
        "share": agree / n if n else np.nan,
    }


def _ranks(effects: Float[np.ndarray, "2 unit"]) -> dict[str, Any]:
    from scipy.stats import spearmanr

    first, second = effects[:, ~np.isnan(effects).any(axis=0)]
    rho = np.nan
    if len(first) > 2 and len(np.unique(first)) > 1 and len(np.unique(second)) > 1:
        found: Any = spearmanr(first, second)  # a class that scipy does not make public
        rho = float(found.statistic)
    return {"units": len(first), "rho": rho}


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.assign(layer=table["layer"].astype("Int64"))


def _provenance(
    both: tuple[ProbeResult, ProbeResult], tests: list[_Test], strongest: int
) -> dict[str, Any]:
    first, second = map(_about, both)
    return {
        "first": first,
        "second": second,
        "tests": [test.name for test in tests],
        "strongest": strongest,
        "shared_words": [word for word in second["words"] if word in first["words"]],
        "same_text": first["sha256"] is not None and first["sha256"] == second["sha256"],
        "sites": [asdict(site) for site in both[0].sites],
        "layers": list(both[0].layers),
    }


def _about(result: ProbeResult) -> dict[str, Any]:
    source = result.contexts.source
    return {
        "model": result.provenance.get("model", {}).get("name", "a model"),
        "text": source.get("source", "a text"),
        "sha256": source.get("sha256"),
        "contrast": result.contexts.contrast.name,
        "examples": len(result.contexts),
        "words": list(dict.fromkeys(result.contexts.words)),
        "test": result.provenance.get("test"),
        "word_test": result.provenance.get("word_test"),
    }


def _one_line(about: Mapping[str, Any]) -> str:
    return (
        f"{about['contrast']} in {about['text']}, {about['model']}, {about['examples']:,} contexts"
    )


def _over_layers(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["layer"].isna()].drop(columns="layer")


def _whole(table: pd.DataFrame, test: str) -> pd.DataFrame:
    rows = _over_layers(table)
    return rows[(rows["test"] == test) & (rows["site"] == rows["site"].iloc[0])]


def _test_lines(
    test: str, overlap: pd.DataFrame, signs: pd.DataFrame, ranks: pd.DataFrame
) -> Iterator[str]:
    """One line on overlap and signs per way of finding units, one on the ranks."""
    share = signs.set_index("found")["share"]
    agree = signs.set_index("found")["units"]
    for row in overlap.itertuples():
        yield (
            f"By {test}, {row.found}: {row.first:,} units in the first, {row.second:,} in the "
            f"second, {row.both:,} in both (by chance {row.expected:,.1f}; with the layers as they "
            f"are {row.expected_by_layer:,.1f}); {_percent(share[row.found])} of "
            f"{agree[row.found]:,} found in the first keep their sign."
        )
    rho = ranks["rho"].iloc[0]
    yield (
        f"By {test}, all units: {_percent(share[ALL])} of {agree[ALL]:,} have the same sign, rank "
        f"correlation of effects {rho:.2f}."
    )


def _percent(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.1%}"
