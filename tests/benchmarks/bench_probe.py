"""The probe against a statsmodels loop and PLINK 2, in one run on the same numbers.

398 examples x 138,240 units (GPT-2 Large's queries, keys and values), synthetic activations.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE \\
        python tests/benchmarks/bench_probe.py --json probe.json

PLINK 2 (Debian: apt-get install plink2) is left out, and the table says so, with --no-plink.
"""

import argparse
import math
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import _common
import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from tl_negation.activations.activations import Activations
from tl_negation.fitting import compute, engine, logistic
from tl_negation.models.sites import Site
from tl_negation.probing.probe import probe

EXAMPLES = _common.NEGATIONS + _common.AFFIRMATIONS
#: A dosage of 1 is stored as 16384, in a 16-bit number (PLINK 2 file format, "dosage").
DOSAGE_STEPS = 16384
#: Units of the loop that computes every column.
WHOLE_UNITS = 100


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--width", type=int, default=1280, help="units per site (Q, K, V)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, interleaved")
    parser.add_argument("--loop-units", type=int, default=500, help="units of the loop")
    parser.add_argument("--plink", default="plink2", help="PLINK 2's executable")
    parser.add_argument("--no-plink", action="store_true", help="leave PLINK 2 out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    facts = _common.machine("statsmodels", "scipy")
    if not args.no_plink:
        facts["plink2"] = _plink_version(args.plink)
    _common.show_machine(facts)
    size = (args.layers, args.width, args.seed)
    memory = _common.in_fresh_process(memory_of_probe, *size)
    acts = activations(*size)
    with tempfile.TemporaryDirectory(prefix="bench_probe_") as folder:
        plink = None if args.no_plink else Plink(args.plink, Path(folder), acts)
        report = {"machine": facts, "settings": _settings(args), "memory": memory}
        report |= _measure(acts, args, plink)
    _show(report)
    _common.write_json(args.json, report)


def activations(layers: int, width: int, seed: int) -> Activations:
    """Units that differ in effect, shift and scale, and share part of their noise per word."""
    contexts = _common.examples(EXAMPLES, vocabulary=50257, seed=seed)
    word = torch.from_numpy(pd.factorize(np.array(contexts.words))[0])
    values = torch.empty(layers, EXAMPLES, 3 * width)
    generator = torch.Generator().manual_seed(seed)
    for layer in values:
        _fill(layer, contexts.labels, word, generator)
    sites = tuple(Site(name, "", "attn", width // 64 or 1, min(width, 64)) for name in "qkv")
    return Activations(values, sites, tuple(range(layers)), contexts, {"name": "synthetic"})


def _fill(
    layer: torch.Tensor, labels: torch.Tensor, word: torch.Tensor, generator: torch.Generator
) -> None:
    n, units = layer.shape

    def normal(rows: int) -> torch.Tensor:
        return torch.randn(rows, units, generator=generator)

    layer.copy_(math.sqrt(0.9) * normal(n) + math.sqrt(0.1) * normal(int(word.max()) + 1)[word])
    # The log-odds of a unit with two normal classes of SD 1 rise by the distance of their means.
    layer.addcmul_(labels[:, None] - 0.5, 0.6 * normal(1))
    scale = 10 ** (4 * torch.rand(1, units, generator=generator) - 2)  # 0.01 to 100
    layer.add_(5 * normal(1)).mul_(scale)


def memory_of_probe(layers: int, width: int, seed: int) -> dict[str, float]:
    """Peak memory of a whole probe above the activations; runs in a process of its own."""
    acts = activations(layers, width, seed)
    extra = _common.extra_memory(lambda: probe(acts, progress=False))
    size = acts.values.nbytes
    return {"activations_bytes": size, "extra_bytes": extra, "peak_ratio": 1 + extra / size}


def fit_alone(acts: Activations) -> dict[str, torch.Tensor]:
    """Estimates, errors, likelihood ratios and accuracies; no AUC, p values or corrections."""
    order = torch.argsort(acts.labels, descending=True, stable=True)
    n1 = int(acts.labels.sum())
    return compute(acts.values, lambda x, memory: logistic.fit(x[order], n1, memory)._asdict())


def whole_loop(x: np.ndarray, y: np.ndarray) -> None:
    """Everything that probe() returns for a unit, by statsmodels and scikit-learn."""
    for column in x.T:
        fitted = sm.Logit(y, sm.add_constant(column)).fit(disp=0)
        p = fitted.predict()
        _ = fitted.bse, fitted.tvalues, fitted.pvalues, fitted.llr, fitted.llr_pvalue
        _ = np.mean((p > 0.5) == y), balanced_accuracy_score(y, p > y.mean())
        _ = roc_auc_score(y, column), column.std()


def statsmodels_loop(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What the reference does per unit (column of x): beta, standard error, p, accuracy."""
    rows = []
    for column in x.T:
        fitted = sm.Logit(y, sm.add_constant(column)).fit(disp=0)
        accuracy = np.mean((fitted.predict() > 0.5) == y)
        rows.append((fitted.params[1], fitted.bse[1], fitted.pvalues[1], accuracy))
    return np.array(rows)


class Plink:
    """The same activations as PLINK 2 sees them: a variant per unit, dosages from 0 to 2.

    Each unit's range is mapped to 0..2 and rounded to PLINK's grid, in the order [layer, unit].
    """

    def __init__(self, executable: str, folder: Path, acts: Activations):
        self.executable, self.folder = executable, folder
        flat = acts.values.transpose(1, 2).flatten(0, 1)  # [unit, example]
        low, high = flat.aminmax(dim=1, keepdim=True)
        self.range = (high.double() - low.double())[:, 0]
        steps = (flat.double() - low) / self.range[:, None] * (2 * DOSAGE_STEPS)
        self.steps = steps.round().int()
        self._write_samples(acts.labels)
        self._write_dosages()
        source = ["--import-dosage", "dosages.txt", "noheader", "format=1", "single-chr=1"]
        self._call(*source, "--psam", "samples.psam", "--make-pgen", "--out", "units")

    def _call(self, *options: str) -> None:
        command = [self.executable, *options, "--threads", str(torch.get_num_threads())]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def _write_samples(self, labels: torch.Tensor) -> None:
        rows = "".join(f"e{i}\t{label + 1}\n" for i, label in enumerate(labels.tolist()))
        (self.folder / "samples.psam").write_text(f"#IID\tCLASS\n{rows}")

    def _write_dosages(self) -> None:
        grid = np.arange(2 * DOSAGE_STEPS + 1) / DOSAGE_STEPS
        text = np.array([f" {dosage:.6f}" for dosage in grid], dtype="S")
        with (self.folder / "dosages.txt").open("wb") as file:
            for unit, steps in enumerate(self.steps.numpy()):
                file.write(b"u%d A G%b\n" % (unit, text[steps].tobytes()))

    def glm(self) -> None:
        self._call("--pfile", "units", "--glm", "no-firth", "allow-no-covars", "--out", "fit")

    def differences(self, acts: Activations) -> dict[str, Any]:
        """PLINK's estimates against ours, on the activations and on the same rounded dosages."""
        self._call(
            *("--pfile", "units", "--glm", "no-firth", "allow-no-covars", "cols=+beta,-orbeta"),
            *("--out", "betas"),
        )
        table = pd.read_csv(self.folder / "betas.CLASS.glm.logistic", sep="\t", na_values="NA")
        sign = np.where(table["A1"] == "A", 1, -1)  # the rarer allele is counted
        theirs = {"beta": sign * table["BETA"], "se": table["SE"]}
        p = table["P"].to_numpy()
        fits = {"activations": self._ours(acts), "same dosages": self._ours_on_dosages(acts)}
        report = {"units without a result": int(table["BETA"].isna().sum())}
        for name, ours in fits.items():
            # A slope near 0 has no relative difference to speak of; its error is its scale.
            beta = np.abs(theirs["beta"].to_numpy() - ours["beta"]) / ours["se"]
            report[name] = {
                "beta, in standard errors": {
                    "median": float(np.nanmedian(beta)),
                    "largest": float(np.nanmax(beta)),
                },
                "se, relative": _difference(theirs["se"].to_numpy(), ours["se"]),
                "p": {"largest |log10 ratio|": _log_ratio(p, ours)},
            }
        return report

    def _ours(self, acts: Activations) -> dict[str, np.ndarray]:
        fitted = fit_alone(acts)
        per_dosage = self.range / 2
        beta = fitted["beta"].flatten() * per_dosage
        se = fitted["se"].flatten() * per_dosage
        return {"beta": beta.numpy(), "se": se.numpy()}

    def _ours_on_dosages(self, acts: Activations) -> dict[str, np.ndarray]:
        order = torch.argsort(acts.labels, descending=True, stable=True)
        n1 = int(acts.labels.sum())
        parts = [
            logistic.fit(steps.T[order].double() / DOSAGE_STEPS, n1)
            for steps in self.steps.split(engine.ROWS.units)
        ]
        beta, se = (torch.cat([getattr(part, key) for part in parts]) for key in ("beta", "se"))
        return {"beta": beta.numpy(), "se": se.numpy()}


def _difference(theirs: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    relative = np.abs(theirs - ours) / np.abs(ours)
    return {"median": float(np.nanmedian(relative)), "largest": float(np.nanmax(relative))}


def _log_ratio(p: np.ndarray, ours: dict[str, np.ndarray]) -> float:
    z = torch.from_numpy(np.abs(ours["beta"] / ours["se"]))
    log10_p = (math.log(2) + torch.special.log_ndtr(-z)) / math.log(10)
    return float(np.nanmax(np.abs(np.log10(p) - log10_p.numpy())))


def _plink_version(executable: str) -> str:
    out = subprocess.run([executable, "--version"], check=True, capture_output=True, text=True)
    return out.stdout.strip()


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    units = 3 * args.width * args.layers
    chosen = {key: getattr(args, key) for key in ("repeats", "loop_units", "seed")}
    return {"examples": EXAMPLES, "units": units, **chosen}


def _measure(acts: Activations, args: argparse.Namespace, plink: Plink | None) -> dict[str, Any]:
    units = acts.values.shape[0] * acts.values.shape[2]
    flat = acts.values.transpose(1, 2).flatten(0, 1)
    chosen = np.linspace(0, units - 1, min(args.loop_units, units)).round().astype(int)
    x, y = flat[chosen].T.double().numpy().copy(), acts.labels.numpy()
    del flat
    few = x[:, : min(WHOLE_UNITS, x.shape[1])]
    contenders = {
        "statsmodels loop": lambda: statsmodels_loop(x, y),
        "the same, every column of probe()": lambda: whole_loop(few, y),
    }
    if plink is not None:
        contenders["PLINK 2 --glm"] = plink.glm
    contenders["tl_negation probe()"] = lambda: probe(acts, progress=False)
    contenders["tl_negation fit alone"] = lambda: fit_alone(acts)
    seconds = _common.interleave(contenders, args.repeats)
    loops = zip(contenders, (len(chosen), few.shape[1]), strict=False)
    fits = dict.fromkeys(contenders, units) | dict(loops)
    timing = {name: _common.spread(times) for name, times in seconds.items()}
    for name, row in timing.items():
        row |= {"fits": fits[name], "fits_per_s": fits[name] / row["median_s"]}
    report = {"timing": timing, "exactness": {"statsmodels": _exactness(acts, chosen, x, y)}}
    if plink is not None:
        report["exactness"]["plink2"] = plink.differences(acts)
    return report


def _exactness(
    acts: Activations, chosen: np.ndarray, x: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    """Largest differences from the loop, as users get it and with its tolerance tightened."""
    result = probe(acts, progress=False)
    ours = {key: getattr(result, key).flatten()[chosen].numpy() for key in ("beta", "se")}
    accuracy = result.accuracy.flatten()[chosen].numpy()
    loop = statsmodels_loop(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot tell that it has arrived at full precision
        exact = [
            sm.Logit(y, sm.add_constant(column)).fit(disp=0, maxiter=50, tol=0) for column in x.T
        ]
    tight = {
        "beta": np.array([fitted.params[1] for fitted in exact]),
        "se": np.array([fitted.bse[1] for fitted in exact]),
    }
    return {
        "units": len(chosen),
        "beta_relative": _difference(ours["beta"], loop[:, 0])["largest"],
        "se_relative": _difference(ours["se"], loop[:, 1])["largest"],
        "beta_relative_to_50_iterations": _difference(ours["beta"], tight["beta"])["largest"],
        "se_relative_to_50_iterations": _difference(ours["se"], tight["se"])["largest"],
        "accuracies_that_differ": int((np.abs(accuracy - loop[:, 3]) > 1e-12).sum()),
    }


def _show(report: dict[str, Any]) -> None:
    settings, timing, memory = report["settings"], report["timing"], report["memory"]
    loop = timing["statsmodels loop"]["fits_per_s"]
    whole = timing["the same, every column of probe()"]["fits_per_s"]
    plink = timing.get("PLINK 2 --glm", {}).get("fits_per_s", math.nan)
    rows = [
        (
            name,
            f"{row['fits']:,}",
            f"{row['median_s']:.3f}",
            f"{row['fits_per_s']:,.0f}",
            f"{row['fits_per_s'] / loop:.1f}",
            f"{row['fits_per_s'] / whole:.0f}",
            f"{row['fits_per_s'] / plink:.2f}",
        )
        for name, row in timing.items()
    ]
    _common.show_table(
        f"{settings['examples']} examples x {settings['units']:,} units, median of "
        f"{settings['repeats']} interleaved repetitions",
        ("", "fits timed", "seconds", "fits/s", "x loop", "x whole loop", "x PLINK 2"),
        rows,
    )
    _common.CONSOLE.print(
        f"peak memory of probe(): {memory['peak_ratio']:.2f} times the activations "
        f"({memory['activations_bytes'] / 1e6:.0f} MB, and {memory['extra_bytes'] / 1e6:.0f} MB)"
    )
    for peer, numbers in report["exactness"].items():
        _common.CONSOLE.print(f"difference from {peer}:", numbers)
    if "plink2" in report["exactness"]:
        _common.CONSOLE.print(
            "PLINK 2 stores dosages to 1/16384 and prints 6 digits; 'same dosages' fits ours to "
            "the rounded numbers. Its time includes reading the pgen file and writing its table.",
            style="dim",
        )


if __name__ == "__main__":
    main()
