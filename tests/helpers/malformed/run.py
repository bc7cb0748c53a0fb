"""A hundred malformed inputs to each public function, in a process of its own.

Run as a program, by ``tests/whole/test_malformed.py``: in that process the types of every call are
checked by beartype, which a user does not have and whose errors would come before ours.

A call is a sound one with one argument replaced by what it may not be: another type, NaN, infinity,
nothing, a negative or huge number, another length, an unknown name. It must end in ValueError,
TypeError, an OSError or IndexError or KeyError, with a message of ours: raised in a module of
tl_negation, not in the depths of torch, numpy or pandas. To return is a fault too.
"""

import json
import math
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import torch
from helpers import synthetic, tiny_models
from helpers.made_results import ablations, checked
from helpers.malformed.calls import activations, inference, interventions, probes, texts
from helpers.malformed.inputs import (
    Case,
    count,
    frames,
    name_not_in,
    no_integer,
    no_number,
    no_path,
    no_result,
    not_finite,
    nothings,
    nowhere,
    optional,
    things,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tl_negation as tln
from tl_negation import plots, views
from tl_negation.probing.columns import ranks

mpl.use("Agg")
EXAMPLES = int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdigit() else 100
ALLOWED = (ValueError, TypeError, OSError, IndexError, KeyError)
PACKAGE = Path(tln.__file__).parent


# ------------------------------------------------------------------ sound calls


def cases(folder: Path) -> dict[str, Case]:
    """Every public function with a sound call and what may not be in it."""
    return (
        texts(folder)
        | activations(folder)
        | probes()
        | interventions(folder)
        | inference()
        | _tables(folder)
        | _runs(folder)
        | _figures(folder)
        | _views(folder)
    )


def _tables(folder: Path) -> dict[str, Case]:
    plain = synthetic.result(*synthetic.small())
    table = tln.profile(plain)
    by_word = tln.held_out(plain, progress=False).tables["held_out_by_word"]
    kept = folder / "kept"
    plain.save(kept)
    damaged = folder / "damaged"
    plain.save(damaged)
    (damaged / "run.json").write_text("{")
    return {
        "profile": Case(
            tln.profile,
            {"result": plain},
            {
                "result": no_result,
                "preset": name_not_in("notebook").filter(lambda thing: thing is not None),
                "by": name_not_in("site", "module"),
            },
        ),
        "trend": Case(tln.trend, {"table": table}, {"table": frames("layer", "site", of=table)}),
        "word_bands": Case(
            tln.word_bands,
            {"by_word": by_word},
            {
                "by_word": frames(*by_word, of=by_word),
                "replicates": count(),
                "seed": count(0),
            },
        ),
        "head_table": Case(tln.head_table, {"result": plain}, {"result": no_result}),
        "effect_table": Case(
            tln.effect_table, {"result": plain}, {"result": no_result, "parts": count()}
        ),
        "calibration_table": Case(
            tln.calibration_table,
            {"p": [0.1, 0.9]},
            {
                "p": st.sampled_from([[], None, "x", {}, object(), [2.0], [[1], [1, 2]]])
                | st.floats(1.01, allow_infinity=True)
                | st.floats(max_value=-0.01),
                "points": count(),
            },
        ),
        "ProbeResult.top": Case(
            plain.top,
            {"n": 2},
            {"n": count(), "by": name_not_in(*ranks()).filter(lambda by: by is not None)},
        ),
        "ProbeResult.select": Case(
            plain.select,
            {"condition": "layer == 0"},
            {"condition": things | st.none() | st.sampled_from(["", "layer", "nowhere > 1", "(("])},
        ),
        "ProbeResult.save": Case(
            plain.save,
            {"path": kept},
            {"path": no_path | st.sampled_from([str(kept), ".", "", "\0"])},
        ),
        "load_result": Case(
            tln.load_result,
            {"path": kept},
            {"path": no_path | nowhere | st.sampled_from([str(folder), str(damaged), "\0"])},
        ),
        "replicate": Case(
            tln.replicate,
            {"result": plain, "other_result": plain},
            {"result": no_result, "other_result": no_result, "strongest": count()},
        ),
    }


def _runs(folder: Path) -> dict[str, Case]:
    plain = synthetic.result(*synthetic.small())
    model = tiny_models.load(folder / "tiny-gpt2")
    text = tln.load_text(folder / "story.txt")
    sound = {"model": model, "text": text, "before": 6, "after": 2, "progress": False}
    window = {
        "model": st.sampled_from([7, None, [], object(), "./nowhere", torch.nn.Linear(2, 2)]),
        "text": st.sampled_from([7, None, [], object(), "no/such.txt", b"x"]),
        "contrast": nothings,
        "sites": nothings | st.just(("p",)),
        "layers": things | st.just([99]) | st.just("0"),
        "before": count(0) | st.integers(min_value=10**6),
        "after": count(0) | st.integers(min_value=10**6),
        "per_class": optional(),
        "permutations": count(),
        "tasks": count(),
        "seed": count(0),
    }
    test = {
        "preset": name_not_in("notebook").filter(lambda thing: thing is not None),
        "test": name_not_in("lr", "wald").filter(lambda thing: thing is not None),
        "family": name_not_in("layer", "site", "all"),
        "word_family": name_not_in("layer", "site", "all"),
        "correction": name_not_in("bonferroni", "holm", "bh", "by"),
        "alternative": name_not_in("two-sided", "greater", "less"),
        "alpha": no_number | not_finite | st.floats(1, 9) | st.floats(-9, 0),
        "extras": nothings.filter(lambda x: x not in ([], ())) | st.just(("x",)),
        "batch_size": optional(),
        "out": st.sampled_from([7, [], object(), ".", ""]),
    }
    return {
        "scan": Case(tln.scan, sound, window | test),
        "compare": Case(
            tln.compare, sound, window | {"distances": things.filter(lambda x: x not in ([], ()))}
        ),
        "write_run": Case(
            tln.write_run,
            {"result": plain, "out": folder / "new", "progress": False},
            {
                "result": no_result,
                "out": st.sampled_from([7, None, [], ".", "", str(folder)]),
                "preset": name_not_in("notebook").filter(lambda thing: thing is not None),
            },
        ),
        "report": Case(
            tln.report,
            {"result": plain, "path": folder / "report.html"},
            {
                "result": no_result,
                "path": st.sampled_from([7, None, [], object()]),
                "model": nothings.filter(lambda thing: thing is not None),
                "preset": name_not_in("notebook").filter(lambda thing: thing is not None),
            },
        ),
    }


def _figures(folder: Path) -> dict[str, Case]:
    plain = synthetic.full(synthetic.result(*synthetic.small()))
    where = plain.top(1)
    no_axes = things.filter(lambda thing: thing not in ([], ())) | st.just("ax")
    ax = {"ax": no_axes, "width": no_number.filter(bool) | not_finite | st.floats(max_value=1.0)}
    table, units_checked = ablations(), checked()
    sites = name_not_in("q", "k", "mlp_pre").filter(lambda thing: thing is not None)
    result = {"result": plain}
    source = {"source": plain}
    units = st.sampled_from([7, None, "x", (1, 2), (9, "q", 0, 0), (2, "p", 0, 0), pd.DataFrame()])
    same = tln.replicate(plain, plain)
    return {
        "plots.ablation": Case(
            plots.ablation, {"source": table},
            {"source": frames("class", "effect", "p", of=table)} | ax,
        ),
        "plots.attribution": Case(
            plots.attribution, {"source": units_checked},
            {"source": frames("estimate", "measured", "drawn", of=units_checked)} | ax,
        ),
        "plots.save": Case(
            plots.save, {"axes": plots.calibration([0.1, 0.5]), "path": folder / "figure.svg"},
            {
                "axes": nothings, "dpi": count(),
                "path": no_path | st.sampled_from(["", "\0", "figure", "figure.doc"]),
            },
        ),
        "plots.laminar": Case(
            plots.laminar, result, {"result": no_result, "y": nothings | st.just(("x",))} | ax
        ),
        "plots.word_or_category": Case(
            plots.word_or_category, result, {"result": no_result, "axes": no_axes}
        ),
        "plots.over_words": Case(
            plots.over_words, result, {"result": no_result, "axes": no_axes}
        ),
        "plots.directions": Case(
            plots.directions, {"found": tln.mean_difference(plain.activations, progress=False)},
            {
                "found": no_result | st.just([plain]),
                "result": no_result.filter(lambda thing: thing is not None),
                "axes": no_axes.filter(lambda thing: thing is not None),
            },
        ),
        "plots.heads": Case(
            plots.heads, source, {"source": no_result, "site": sites, "y": things} | ax
        ),
        "plots.units_by_head": Case(
            plots.units_by_head, result,
            {"result": no_result, "site": sites, "value": name_not_in(*plain.columns)} | ax,
        ),
        "plots.effects": Case(plots.effects, source, {"source": no_result} | ax),
        "plots.calibration": Case(
            plots.calibration, {"p": [0.1, 0.5]},
            {
                "p": nothings.filter(lambda thing: thing != {"a": 1})
                | st.sampled_from([[1.5], [-0.5], [math.nan]])
            } | ax,
        ),
        "plots.volcano": Case(
            plots.volcano, {**result, "layer": 2},
            {"result": no_result, "layer": no_integer | st.none() | st.integers(10)} | ax,
        ),
        "plots.unit": Case(
            plots.unit, {**result, "where": where}, {"result": no_result, "where": units} | ax
        ),
        "plots.replication": Case(
            plots.replication, {"source": same},
            {
                "source": no_result,
                "test": name_not_in("examples", "words").filter(lambda x: x is not None),
                "found": name_not_in("significant", "strongest 100"),
            } | ax,
        ),
    }  # fmt: skip


def _views(folder: Path) -> dict[str, Case]:
    model, contexts = tiny_models.load(folder / "tiny-gpt2"), tiny_models.contexts(8)
    acts = tln.collect(model, contexts, ("q", "k"), progress=False)
    result = tln.probe(acts, progress=False)
    units = result.top(1)
    display = views.display_table(model, contexts, units, n=4)
    shown = {"model": model, "contexts": contexts, "units": units}
    rows = things | st.none() | st.just([99]) | st.just([-1])
    examples = rows.filter(lambda thing: thing is not None)
    no_units = frames("layer", "site", "head", "index", of=units)
    bad = {
        "model": nothings, "contexts": nothings, "units": no_units, "examples": examples,
        "n": count(2),
    }  # fmt: skip
    heads = views.tuned_heads(result, 1)
    return {
        "views.text_heatmap": Case(views.text_heatmap, shown, bad),
        "views.display_table": Case(views.display_table, shown, bad),
        "views.spread_examples": Case(
            views.spread_examples, {"contexts": contexts},
            {"contexts": nothings, "n": count(2), "seed": count(0)},
        ),
        "views.heatmap": Case(
            views.heatmap, {"display": display, "contexts": contexts},
            {"display": frames(*views.UNIT, of=display), "contexts": nothings},
        ),
        "views.top_contexts": Case(
            views.top_contexts, {"model": model, "result": result, "where": units},
            {"model": nothings, "result": no_result, "where": no_units, "n": count()},
        ),
        "views.over_text": Case(
            views.over_text, {"model": model, "text": "not", "units": units},
            {
                "model": nothings, "units": no_units,
                "text": things | st.none() | st.just("") | st.just([""]),
            },
        ),
        "views.tuned_heads": Case(
            views.tuned_heads, {"result": result},
            {"result": no_result, "n": count(), "site": name_not_in("q", "k")},
        ),
        "views.head_attention": Case(
            views.head_attention, {"model": model, "contexts": contexts, "heads": heads},
            {
                "model": nothings, "contexts": nothings, "examples": examples,
                "heads": frames("layer", "head", of=heads), "n": count(2),
            },
        ),
        "views.unit_browser": Case(
            views.unit_browser, {"result": result, "model": model, "n": 2, "contexts": 4},
            {
                "result": no_result, "model": nothings, "n": count(), "contexts": count(2),
            },
        ),
    }  # fmt: skip


# ------------------------------------------------------------------ the judge


def faults_of(case: Case) -> tuple[int, list[str]]:
    """Calls made, and what was wrong with some of them."""
    faults: dict[str, str] = {}
    calls = 0
    arguments = st.sampled_from(sorted(case.bad)).flatmap(
        lambda name: st.tuples(st.just(name), case.bad[name])
    )

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(arguments)
    def ask(argument: tuple[str, Any]) -> None:
        nonlocal calls
        calls += 1
        name, value = argument
        fault = _fault(case, name, value)
        if fault:
            faults.setdefault(f"{name}: {fault[:60]}", f"{name}={str(value)[:60]!r}: {fault}")

    ask()
    return calls, list(faults.values())


def _fault(case: Case, name: str, value: Any) -> str | None:
    try:
        case.call(**{**case.sound, name: value})
    except ALLOWED as error:
        where = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if PACKAGE not in where.parents:
            return f"{type(error).__name__} of {'/'.join(where.parts[-3:])}: {error}"
        return None if str(error).strip() else f"{type(error).__name__} without a message"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "was accepted"


def main() -> None:
    """Print one JSON object: function -> calls and faults."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    wanted = [name for name in sys.argv[1:] if not name.isdigit()]
    with tempfile.TemporaryDirectory() as folder:
        known = cases(Path(folder))
        found = {}
        for name in wanted or known:
            calls, faults = faults_of(known[name])
            found[name] = {"calls": calls, "faults": faults}
            print(f"{name} {len(faults)} {time.process_time():.1f}", file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
