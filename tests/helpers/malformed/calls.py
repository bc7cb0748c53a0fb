"""Sound calls from texts to inference, and what may not be in them, for ``malformed.run``."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from helpers import synthetic, tiny_models
from helpers.malformed.inputs import (
    Case,
    count,
    frames,
    name_not_in,
    no_number,
    no_path,
    no_result,
    not_finite,
    not_positive,
    nothings,
    nowhere,
    optional,
    tensors,
    things,
)
from hypothesis import strategies as st

import tl_negation as tln
from tl_negation.runs import HARDWARE


def texts(folder: Path) -> dict[str, Case]:
    story = folder / "story.txt"
    story.write_text(tiny_models.story(), "utf-8")
    (folder / "binary.txt").write_bytes(b"PK\0")
    (folder / "empty.txt").write_bytes(b"")
    lists = {"negation": ["not", "n't"], "affirmation": ["can", "may"]}
    text, tokenizer = tln.load_text(story), tiny_models.tokenizer()
    contexts = tln.find_contexts(text, tokenizer, before=6, after=2)
    no_lists = (
        things
        | st.none()
        | st.sampled_from(
            [
                {},
                {"a": ["x"]},
                {"a": [], "b": ["x"]},
                {"a": "not", "b": "can"},
                {"a": [1], "b": ["x"]},
                {"a": ["x"], "b": ["x"]},
                {"a": [""], "b": ["x"]},
                {"a": ["x"], "b": ["y"], "c": ["z"]},
            ]
        )
    )
    sources = st.sampled_from(
        [
            "no/such.txt", "", "foo:bar", "gutenberg:", "gutenberg:x", "builtin:x", "hf:", "\0",
            "hf:x?limit=0", "no/*.txt", str(folder / "binary.txt"), str(folder / "empty.txt"),
            [], [[]], [None], [str(story), 3], 3, None, 1.5, {"text": "x"}, object(), b"story",
        ]
    )  # fmt: skip
    rows = [{"text": "You may", "polarity": "yes"}, {"text": "I cannot", "polarity": "no"}]
    contrast = folder / "contrast.toml"
    contrast.write_text('name = "x"\n[lists]\na = ["not"]\nb = ["can"]\n', "utf-8")
    window = {"before": 6, "after": 2}
    shape = {"n_layers": 2, "d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 32}
    sizes = tln.ModelSizes(**shape)
    return {
        "load_text": Case(
            tln.load_text,
            {"source": str(story)},
            {
                "source": sources,
                "limit": optional(),
                "timeout": no_number | not_finite | st.integers(max_value=0),
                "max_bytes": count(),
                "column": nothings.filter(lambda thing: thing is not None),
            },
        ),
        "Text.from_string": Case(
            tln.Text.from_string, {"s": "not"}, {"s": things | st.none() | st.just(" \n")}
        ),
        "Contrast": Case(
            tln.Contrast, {"name": "x", "lists": lists}, {"lists": no_lists, "name": no_path}
        ),
        "Contrast.carried": Case(tln.NEGATION.carried, {"distance": 1}, {"distance": count()}),
        "find_contexts": Case(
            tln.find_contexts,
            {"text": text, "tokenizer": tokenizer, **window},
            {
                "text": things | st.none() | st.sampled_from(["", " ", "not"]),
                "tokenizer": nothings,
                "contrast": nothings,
                "before": count(0) | st.integers(min_value=10**6),
                "after": count(0) | st.integers(min_value=10**6),
                "preset": name_not_in("notebook").filter(lambda thing: thing is not None),
                "seed": count(0),
                "per_class": optional(),
            },
        ),
        "examples": Case(
            tln.examples,
            {"table": rows, "tokenizer": tokenizer, "label": "polarity"},
            {
                "table": things | st.none() | nowhere | st.sampled_from([[{}], [{"text": "x"}]]),
                "tokenizer": nothings,
                "text": things | st.none() | st.just("nowhere"),
                "label": things | st.none() | st.just("nowhere"),
                "at": things | st.none() | st.sampled_from(["nowhere", ("text",), ("a", "b")]),
                "word": things | st.just("nowhere"),
                "pair": things | st.just("nowhere"),
                "item": things | st.just("nowhere"),
                "positive": st.sampled_from(["maybe", 7, (), b"yes"]),
            },
        ),
        "Contrast.from_file": Case(
            tln.Contrast.from_file,
            {"path": contrast},
            {"path": no_path | nowhere | st.sampled_from([str(story), str(folder), "", "\0"])},
        ),
        "Contexts.sample": Case(
            contexts.sample, {"per_class": 2}, {"per_class": count(), "seed": count(0)}
        ),
        "control": Case(
            tln.control,
            {"contexts": contexts.sample(4), "text": text, "tokenizer": tokenizer},
            {"contexts": nothings, "text": nothings, "tokenizer": nothings, "seed": count(0)},
        ),
        "ModelSizes": Case(tln.ModelSizes, shape, {name: count() for name in shape}),
        "plan": Case(
            tln.plan,
            {"model": sizes, "tokens": 1e6, "flops": 1e12},
            {
                "model": nothings,
                "tokens": no_number | not_finite | not_positive,
                "sites": nothings,
                "before": count(0),
                "per_class": optional(),
                "batch_size": optional(),
                "dtype": name_not_in("float32", "bfloat16", "float16"),
                "device": things | st.just("abacus"),
                "hardware": name_not_in(*HARDWARE).filter(bool),
                "flops": no_number.filter(bool) | not_finite | not_positive,
                "device_memory": no_number.filter(bool) | not_finite | not_positive,
                "devices": count(),
                "utilisation": no_number | not_finite | st.floats(1.01, 1e9) | not_positive,
            },
        ),
    }


def activations(folder: Path) -> dict[str, Case]:
    path = tiny_models.gpt2_folder(folder)
    model, contexts = tiny_models.load(path), tiny_models.contexts(8)
    units = pd.DataFrame({"layer": [0], "site": ["q"], "head": [0], "index": [1]})
    outside = units.assign(index=99)
    layers = things | st.just([99]) | st.just([-1]) | st.just([0, 0]) | st.just("0")
    stored = folder / "stored"
    tln.collect(model, contexts, ("q",), store=stored, progress=False)
    acts = tln.collect(model, contexts, ("q",), progress=False)
    _, cache = model.run_with_cache(contexts.tokens, names_filter=tln.hook_names(model, ("q",)))
    return {
        "load_model": Case(
            tln.load_model,
            {"name": str(path)},
            {
                "name": no_path | nowhere | st.sampled_from(["", "/no/such"]),
                "device": st.sampled_from(["abacus", 7.5, [], "cuda:99", object()]),
                "dtype": st.sampled_from(["float32", None, 7, torch.int8, object()]),
            },
        ),
        "untrained_twin": Case(
            tln.untrained_twin, {"model": model}, {"model": nothings, "seed": count(0)}
        ),
        "describe_model": Case(tln.describe_model, {"model": model}, {"model": nothings}),
        "sites_of": Case(tln.sites_of, {"model": model}, {"model": nothings}),
        "collect": Case(
            tln.collect,
            {"model": model, "contexts": contexts, "sites": ("q",), "progress": False},
            {
                "model": nothings,
                "contexts": nothings,
                "sites": nothings | st.just(("q", "q")) | st.just(("p",)),
                "layers": layers,
                "features": things | st.just({"x": "q"}) | st.just({"q": ("q", abs)}),
                "batch_size": optional(),
                "store": st.sampled_from([7, [], object(), 1.5]),
            },
        ),
        "hook_names": Case(
            tln.hook_names,
            {"model": model, "sites": ("q",)},
            {"model": nothings, "sites": nothings | st.just(("p",)), "layers": layers},
        ),
        "from_cache": Case(
            tln.from_cache,
            {"cache": cache, "contexts": contexts},
            {
                "cache": things | st.none() | st.sampled_from([{"q": 3}, [{}], "cache"]),
                "contexts": nothings,
                "labels": things | st.just([1, 0] * 4),
                "words": st.sampled_from([7, ["a"], object()]),
                "pos": things.filter(lambda pos: pos != 3) | st.sampled_from([99, -99, [1]]),
                "sites": things | st.just(("p",)) | st.just("q"),
                "layers": layers,
            },
        ),
        "Activations.map": Case(
            acts.map,
            {"site": "q", "encode": torch.relu, "name": "up"},
            {
                "site": st.sampled_from(["p", "", None, 7]),
                "encode": nothings,
                "name": things | st.none() | st.sampled_from(["q", "", "a b", "hook_q"]),
            },
        ),
        "Activations": Case(
            tln.Activations,
            {name: getattr(acts, name) for name in ("sites", "layers", "contexts", "model")}
            | {"values": acts.values},
            {
                "values": nothings | tensors((3,), (0, 2, 2), (1, 1, 1)),
                "sites": things | st.none(),
                "layers": things | st.none(),
                "contexts": nothings,
            },
        ),
        "load_activations": Case(
            tln.load_activations,
            {"store": stored},
            {"store": no_path | nowhere | st.sampled_from([str(folder), "\0"])},
        ),
        "token_activations": Case(
            tln.token_activations,
            {"model": model, "contexts": contexts, "units": units, "examples": [0]},
            {
                "model": nothings,
                "contexts": nothings,
                "units": frames(*units.columns, of=units) | st.just(outside),
                "examples": things | st.none() | st.just([99]) | st.just([-1]) | st.just("0"),
                "batch_size": count(),
            },
        ),
    }


def probes() -> dict[str, Case]:
    values, labels, words = synthetic.small()
    acts = synthetic.activations(values[:1], synthetic.contexts(labels, words))
    x, y = torch.randn(20, 3), torch.arange(20) % 2
    return {
        "probe": Case(
            tln.probe,
            {"acts": acts, "progress": False},
            {
                "acts": no_result,
                "test": name_not_in("lr", "wald"),
                "alpha": no_number | not_finite | st.floats(1, 9) | st.floats(-9, 0),
                "family": name_not_in("layer", "site", "all"),
                "correction": name_not_in("bonferroni", "holm", "bh", "by"),
                "chunk": optional(),
            },
        ),
        "unit_statistics": Case(
            tln.unit_statistics,
            {"x": x, "y": y},
            {
                "x": nothings | tensors((20,), (19, 3), (0, 3), (20, 3, 1)),
                "y": nothings | tensors((19,), (20, 1), (0,), (20,)) | st.just(y * 2),
                "chunk": optional(),
            },
        ),
    }


def interventions(folder: Path) -> dict[str, Case]:
    model, contexts = (
        tiny_models.load(folder / "tiny-gpt2"),
        tiny_models.contexts(8, before=6, after=4),
    )
    acts = tln.collect(model, contexts, ("q", "k"), progress=False)
    result = tln.probe(acts, progress=False)
    units = result.top(2)[["layer", "site", "head", "index"]]
    others = replace(acts, contexts=contexts.sample(2), values=acts.values[:, :4])
    run = {"model": model, "progress": False, "per_class": 2}
    shared = {
        "model": nothings,
        "how": name_not_in("mean", "zero", "resample"),
        "per_class": optional(),
        "follow": optional() | st.integers(min_value=5),
        "seed": count(0),
        "batch_size": optional(),
    }
    of_contexts = {
        "contexts": nothings | st.just(contexts.sample(2)),
        "acts": things | st.just(others),
    }
    wrong = ({"index": 9}, {"site": "p"}, {"head": 0.5}, {"layer": "x"})
    tables = [units.iloc[[0, 0]], *(units.assign(**one) for one in wrong)]
    of_units = frames("layer", "site", "head", of=units) | st.sampled_from(tables)
    of_result = {
        "result": no_result | st.just(replace(result, activations=None)),
        "n": count() | st.integers(min_value=10**3),
        "selections": name_not_in().filter(lambda x: x is not None) | st.just({"mine": "all"}),
    }
    draws, checked = {"draws": count(19)}, {"checked": count(4)}
    selecting = {**run, "result": result, "n": 2, "draws": 19}
    return {
        "ablate": Case(
            tln.ablate,
            {**run, "contexts": contexts, "units": units, "acts": acts, "draws": 19},
            {"units": of_units} | shared | of_contexts | draws,
        ),
        "attribute": Case(
            tln.attribute,
            {**run, "contexts": contexts, "acts": acts, "checked": 4},
            shared | of_contexts | checked,
        ),
        "steer": Case(
            tln.steer,
            {
                **run,
                "contexts": contexts,
                "direction": acts.site("q")[1, 0],
                "layer": 1,
                "site": "q",
                "acts": acts,
                "draws": 19,
            },
            {name: no for name, no in shared.items() if name != "how"}
            | of_contexts
            | draws
            | {
                "direction": nothings | tensors((3,), (2, 2)) | st.just(acts.site("q")),
                "layer": no_number | st.just(9),
                "site": name_not_in("q", "k"),
                "length": (no_number | not_finite | st.just(0)).filter(lambda x: x is not None),
            },
        ),
        "compare_ablations": Case(tln.compare_ablations, selecting, shared | of_result | draws),
        "add_effects": Case(
            tln.add_effects, {**selecting, "checked": 4}, shared | of_result | draws | checked
        ),
    }


def inference() -> dict[str, Case]:
    plain = synthetic.result(*synthetic.small())
    acts, contexts = plain.activations, plain.contexts
    result, seed = {"result": no_result}, {"seed": count(0)}
    quiet = {"result": plain, "progress": False}
    families = name_not_in("layer", "site", "all")
    sides = name_not_in("two-sided", "greater", "less")
    corrections = name_not_in("bonferroni", "holm", "bh", "by")
    null = tln.lexical_null(plain, replicates=2, progress=False)
    one = synthetic.contexts(np.ones(4, int), ["not"] * 4)
    both = synthetic.contexts([1, 0] * 6, ["now"] * 12)
    pairs = both.examples.assign(pair=np.repeat(np.arange(6), 2))
    values = np.random.default_rng(0).normal(size=(1, 12, synthetic.WIDTH))
    paired = synthetic.bare(synthetic.activations(values, replace(both, examples=pairs)))
    return {
        "infer": Case(
            tln.infer,
            quiet,
            result
            | seed
            | {
                "permutations": count(),
                "family": families,
                "alternative": sides,
                "tasks": count(),
                "replicates": count(),
            },
        ),
        "word_test": Case(
            tln.word_test,
            quiet,
            result
            | seed
            | {
                "permutations": count(),
                "family": families,
                "alternative": sides,
                "statistic": name_not_in("weighted", "pooled"),
                "error": name_not_in("fwer", "fdx", "fdr"),
                "gamma": no_number | st.floats(1.0) | st.floats(max_value=-1e-9),
                "alpha": no_number | st.floats(1.0) | st.floats(max_value=0.0),
            },
        ),
        "pair_test": Case(
            tln.pair_test,
            {"result": paired, "progress": False},
            result
            | seed
            | {
                "permutations": count(),
                "family": families,
                "alternative": sides,
                "error": name_not_in("fwer", "fdx", "fdr"),
                "gamma": no_number | st.floats(1.0) | st.floats(max_value=-1e-9),
                "alpha": no_number | st.floats(1.0) | st.floats(max_value=0.0),
            },
        ),
        "group_test": Case(
            tln.group_test,
            {"result": plain},
            result
            | seed
            | {
                "by": nothings.filter(lambda by: by not in ([], ()))
                | st.sampled_from([["lay"], "layer", ["site", "site"], [1]]),
                "permutations": count(),
                "alternative": sides,
                "alpha": no_number | st.floats(1.0) | st.floats(max_value=0.0),
            },
        ),
        "held_out": Case(
            tln.held_out,
            {**quiet, "by": "fold"},
            result
            | seed
            | {
                "by": name_not_in("word", "fold", "block"),
                "folds": count(2) | st.integers(min_value=62),
            },
        ),
        "selectivity": Case(
            tln.selectivity,
            quiet,
            result | seed | {"tasks": count(), "folds": count(2) | st.integers(min_value=62)},
        ),
        "lexical_null": Case(tln.lexical_null, quiet, result | seed | {"replicates": count()}),
        "null_bands": Case(
            tln.null_bands, {"table": null}, {"table": frames("layer", "site", of=null)}
        ),
        "null_p_values": Case(
            tln.null_p_values,
            {"result": plain, "deals": 1, "units": 3, "permutations": 20},
            result | seed | {"deals": count(), "units": count(), "permutations": count()},
        ),
        "cluster_robust": Case(tln.cluster_robust, {"result": plain}, result),
        "penalise": Case(
            tln.penalise, {"result": plain}, result | {"units": name_not_in("invalid", "all")}
        ),
        "adjusted": Case(
            tln.adjusted,
            {"result": plain},
            result
            | {
                "column": name_not_in(*plain.columns).filter(lambda thing: thing is not None),
                "family": families,
                "correction": corrections,
            },
        ),
        "exchangeable": Case(tln.exchangeable, {"contexts": contexts}, {"contexts": nothings}),
        "distinct_rows": Case(tln.distinct_rows, {"acts": acts}, {"acts": no_result}),
        "rotate": Case(tln.rotate, {"acts": acts}, {"acts": no_result, "seed": count(0)}),
        "head_probe": Case(
            tln.head_probe,
            {"acts": acts, "progress": False},
            {
                "acts": no_result | st.just(replace(acts, values=acts.values[:, :4], contexts=one)),
                "penalty": no_number | not_finite | not_positive,
                "relabelings": count(0),
                "seed": count(0),
            },
        ),
        **{
            function.__name__: Case(
                function,
                {"acts": acts, "progress": False, "relabelings": 1},
                {
                    "acts": no_result,
                    "relabelings": count(0),
                    "seed": count(0),
                    "by": name_not_in("word").filter(lambda thing: thing is not None),
                }
                | more,
            )
            for function, more in (
                (tln.layer_probe, {"penalty": no_number | not_finite | not_positive}),
                (tln.mean_difference, {}),
            )
        },
        "add_extras": Case(
            tln.add_extras,
            {**quiet, "names": ("clusters",)},
            result | {"names": nothings.filter(lambda x: x not in ([], ())) | st.just(("x",))},
        ),
    }
