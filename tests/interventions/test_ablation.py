"""Ablation and attribution on tiny models, against hand-written Hugging Face hooks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models
from helpers.intervention_oracles import (
    FAMILIES,
    OPTIONS,
    SITES,
    UNITS,
    hf_hooks,
    hf_log_p,
    setting,
    units_table,
)
from scipy.stats import kstest

from tl_negation import ablate, attribute, collect, sites_of
from tl_negation.interventions.ablation import ablations
from tl_negation.interventions.measurement import measure
from tl_negation.models.units import numbered, places, table_of

# ------------------------------------------------------------------ against Hugging Face


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("class_name", tiny_models.CLASSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_zero_is_a_hugging_face_hook(folders, contexts, family, class_name, keep):
    model = tiny_models.load(folders[family], class_name)
    hf = FAMILIES[family][0]()
    units = UNITS[family]
    found = ablate(model, contexts, units, "zero", follow=3, draws=19, keep=keep, **OPTIONS)
    clean = hf_log_p(hf, contexts, 3)
    with hf_hooks(hf, family, units, contexts.before, torch.zeros_like):
        changed = hf_log_p(hf, contexts, 3)
    np.testing.assert_allclose(found.examples["clean"], clean, atol=1e-4)
    np.testing.assert_allclose(found.examples["change"], changed - clean, atol=2e-4)
    assert np.abs(changed - clean).max() > 0.05  # it does something


@pytest.mark.parametrize("class_name", tiny_models.CLASSES)
def test_kept_keys_change_nothing(folders, contexts, class_name):
    model = tiny_models.load(folders["llama"], class_name)
    acts = collect(model, contexts, SITES, progress=False)
    both = {
        keep: ablate(model, contexts, UNITS["llama"], acts=acts, draws=19, keep=keep, **OPTIONS)
        for keep in (True, False)
    }
    assert both[False].about["kept_keys"] is False
    if class_name == "HookedTransformer":
        assert both[True].about["kept_keys"] is True
    for name in ("negation", "affirmation"):
        np.testing.assert_allclose(both[True].draws[name], both[False].draws[name], atol=1e-4)


@pytest.mark.parametrize("class_name", tiny_models.CLASSES)
def test_every_site_can_be_replaced_with_kept_keys_or_without(folders, contexts, class_name):
    """With kept keys, some hooks (rot_k) see all tokens and others only those after the target."""
    model = tiny_models.load(folders["llama"], class_name)
    sites = tuple(sites_of(model))
    acts = collect(model, contexts, sites, layers=[1], progress=False)
    edges = np.cumsum([0, *(site.width for site in acts.sites)])
    sets = [np.arange(*ends)[::2] for ends in pairwise(edges)]
    kept, whole = (
        measure(setting(model, contexts, acts, keep=keep), sets, "test")[0]
        for keep in (True, False)
    )
    assert {"q", "rot_q", "rot_k", "z", "resid_pre", "resid_post", "mlp_post"} <= {*sites}
    np.testing.assert_allclose(kept, whole, atol=1e-4)
    assert (np.abs(whole).max(axis=1) > 1e-3).all()


def test_keys_that_give_other_numbers_are_not_kept(model, contexts, acts, monkeypatch):
    """A model whose cache is ignored: its target would not see what comes before."""
    module = "tl_negation.interventions.continuation._options"
    monkeypatch.setattr(module, lambda *_: {})
    found = ablate(model, contexts, UNITS["gpt2"], acts=acts, draws=19, **OPTIONS)
    monkeypatch.undo()
    whole = ablate(model, contexts, UNITS["gpt2"], acts=acts, draws=19, keep=False, **OPTIONS)
    assert found.about["kept_keys"] is False
    pd.testing.assert_frame_equal(found.table, whole.table)


# ------------------------------------------------------------------ what is put in


def test_the_mean_is_that_of_all_contexts_whatever_their_class(model, contexts, acts):
    units = units_table((1, "v", 3, 2))
    [place] = places(units, acts.sites, acts.layers)
    mean = acts.site("v")[1, :, 3 * 4 + 2].mean()
    hf = tiny_models.gpt2()
    with hf_hooks(hf, "gpt2", units, contexts.before, lambda old: old * 0 + mean):
        changed = hf_log_p(hf, contexts, 3)
    found = ablate(model, contexts, units, acts=acts, follow=3, draws=19, **OPTIONS)
    np.testing.assert_allclose(
        found.examples["change"], changed - hf_log_p(hf, contexts, 3), atol=2e-4
    )
    part = setting(model, contexts, acts)
    assert len(part.replacement(1, slice(52, 53)).unique()) == 1
    assert place == 140 * 1 + 20 + 20 + 3 * 4 + 2


def test_the_mean_is_of_all_contexts_also_where_a_sample_is_measured(model, contexts, acts):
    options = {"acts": acts, "draws": 19, "progress": False}
    few = ablate(model, contexts, UNITS["gpt2"], per_class=2, **options)
    everything = ablate(model, contexts, UNITS["gpt2"], per_class=None, **options)
    assert len(few.examples) == 4
    assert few.table["contexts"].tolist() == [2, 2, 4]
    same = everything.examples.set_index("example").loc[few.examples["example"]]
    np.testing.assert_allclose(few.examples["change"], same["change"], atol=1e-5)


def test_resampled_values_come_from_another_context(model, contexts, acts):
    part = setting(model, contexts, acts, how="resample")
    assert (part.donors != part.rows).all()
    assert len(set(part.donors)) > 3
    torch.testing.assert_close(
        part.replacement(2, slice(0, 20)), acts.site("q")[2][torch.from_numpy(part.donors)]
    )
    hf, units = tiny_models.gpt2(), units_table((1, "v", 3, 2), (0, "mlp_pre", 0, 5))
    v = acts.site("v")[1, part.donors, 14], acts.site("mlp_pre")[0, part.donors, 5]
    with (
        hf_hooks(hf, "gpt2", units[:1], contexts.before, lambda _: v[0]),
        hf_hooks(hf, "gpt2", units[1:], contexts.before, lambda _: v[1]),
    ):
        changed = hf_log_p(hf, contexts, 3)
    found = ablate(model, contexts, units, "resample", acts=acts, follow=3, draws=19, **OPTIONS)
    np.testing.assert_allclose(
        found.examples["change"], changed - hf_log_p(hf, contexts, 3), atol=2e-4
    )


def test_donors_are_drawn_evenly_from_all_other_contexts(model, contexts, acts):
    drawn = [setting(model, contexts, acts, how="resample", seed=s).donors for s in range(600)]
    counts = np.bincount(np.stack(drawn)[:, 5], minlength=12)
    assert counts[5] == 0
    assert kstest(np.stack(drawn)[:, 0] - 1 + np.random.default_rng(0).random(600),
                  "uniform", (0, 11)).pvalue > 0.01  # fmt: skip


def test_a_seed_gives_the_same_and_another_gives_another(model, contexts, acts):
    options = {"acts": acts, "draws": 19, "how": "resample", **OPTIONS}
    first, again, other = (
        ablate(model, contexts, UNITS["gpt2"], seed=seed, **options) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first.draws, again.draws)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not np.allclose(first.draws["negation"], other.draws["negation"])
    assert not np.allclose(first.examples["change"], other.examples["change"])


@pytest.mark.parametrize("batch_size", [1, 5, 30, None])
def test_replacing_nothing_does_exactly_nothing(model, contexts, acts, batch_size):
    part = setting(model, contexts, acts, batch_size=batch_size)
    some = places(UNITS["gpt2"], acts.sites, acts.layers)
    changes, _ = measure(part, [some, some[:0], some[:2], some[:0], some[1:]], "test")
    assert (changes[[1, 3]] == 0).all()
    assert (changes[[0, 2, 4]] != 0).any(axis=1).all()
    empty = ablations(part, {"empty": some[:0]}, draws=19)["empty"]
    assert (empty.examples["change"] == 0).all()
    assert empty.table["p"].tolist() == [1, 1, 1]


def test_sets_do_not_disturb_each_other(model, contexts, acts):
    """Measured in one pass with others or alone, a set gives the same."""
    part = setting(model, contexts, acts)
    every = np.arange(3 * 140)
    sets = [every[i::7] for i in range(7)]
    together, _ = measure(part, sets, "test")
    for change, units in zip(together, sets, strict=True):
        np.testing.assert_allclose(measure(part, [units], "test")[0][0], change, atol=1e-4)


def test_no_hook_is_left_behind(model, contexts, acts):
    def clean():
        with torch.inference_mode():
            return model(contexts.tokens, return_type="logits")

    before = clean()
    ablate(model, contexts, UNITS["gpt2"], acts=acts, draws=19, **OPTIONS)
    attribute(model, contexts, acts=acts, checked=4, **OPTIONS)
    torch.testing.assert_close(clean(), before, rtol=0, atol=0)


def test_a_batch_that_does_not_fit_is_halved(model, contexts, acts, monkeypatch):
    sizes = []
    forward = model.forward

    def too_small(tokens, *args, **kwargs):
        sizes.append(len(tokens))
        if len(tokens) > 12:
            raise RuntimeError("CUDA out of memory.")
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(too_small))
    options = {"acts": acts, "draws": 19, "batch_size": 200, **OPTIONS}
    found = ablate(model, contexts, UNITS["gpt2"], **options)
    monkeypatch.undo()
    assert max(sizes) > 12
    whole = ablate(model, contexts, UNITS["gpt2"], acts=acts, draws=19, **OPTIONS)
    np.testing.assert_allclose(found.draws["negation"], whole.draws["negation"], atol=1e-4)


def test_other_errors_are_not_taken_for_memory(model, contexts, acts, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("shape '[3]' is invalid")

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(broken))
    with pytest.raises(RuntimeError, match="is invalid"):
        ablate(model, contexts, UNITS["gpt2"], acts=acts, draws=19, **OPTIONS)


# ------------------------------------------------------------------ the random sets


@pytest.mark.slow
def test_p_values_of_random_halves_of_a_site_are_uniform(model, contexts, acts):
    """Compared with the other half they would not be: about half of them would be below .05."""
    rng = np.random.default_rng(1)
    pool = 140 + np.arange(60, 140)
    p = []
    for seed in range(40):
        chosen = table_of(rng.choice(pool, 40, replace=False), acts.sites, acts.layers)
        found = ablate(model, contexts, chosen, acts=acts, draws=19, seed=seed, **OPTIONS)
        p.append(found.table["p"])
    for of_class in np.array(p).T:
        jittered = of_class - rng.uniform(0, 1 / 20, size=40)
        assert kstest(jittered, "uniform").pvalue > 0.01


def test_units_that_matter_are_told_from_those_that_do_not(model, contexts, acts):
    """The units with the largest measured effects, together, change more than random ones."""
    part = setting(model, contexts, acts)
    pool = 140 + np.arange(60, 140)
    changes, _ = measure(part, [np.array([unit]) for unit in pool], "test")
    strongest = pool[np.argsort(changes.mean(axis=1))[:6]]
    chosen = table_of(strongest, acts.sites, acts.layers)
    found = ablate(model, contexts, chosen, acts=acts, draws=99, follow=3, **OPTIONS)
    assert found.table["p"].iloc[0] <= 0.05
    assert found.table["effect"].iloc[0] < found.draws["negation"].quantile(0.05)


# ------------------------------------------------------------------ the result


def test_the_table_is_that_of_the_draws_and_examples(model, contexts, acts):
    found = ablate(model, contexts, UNITS["gpt2"], acts=acts, draws=39, **OPTIONS)
    table = found.table.set_index("class")
    assert list(table.index) == ["negation", "affirmation", "negation minus affirmation"]
    means = found.examples.groupby("group")["change"].mean()
    difference = means["negation"] - means["affirmation"]
    effects = [means["negation"], means["affirmation"], difference]
    np.testing.assert_allclose(table["effect"], effects)
    for name, effect in zip(table.index, effects, strict=True):
        draws = found.draws[name]
        assert table.loc[name, "p"] == (1 + (draws.abs() >= abs(effect)).sum()) / 40
        assert table.loc[name, "random_mean"] == pytest.approx(draws.mean())
        assert table.loc[name, "random_q975"] == pytest.approx(draws.quantile(0.975))
    assert (table["units"] == 5).all()
    assert table["contexts"].tolist() == [6, 6, 12]
    assert found.about["follow"] == 4  # all that the windows hold
    assert numbered(found.units).equals(UNITS["gpt2"])
    assert found.to_frame().equals(found.table)
    assert "Ablation (mean) of 5 units" in repr(found)
    assert "39 matched random sets, seed 0" in repr(found)
    assert "<table" in found._repr_html_()
    assert 0.2 < found.about["variance_ratio"] < 5


def test_whole_heads(model, contexts, acts):
    heads = pd.DataFrame({"layer": [0, 2], "site": ["q", "v"], "head": [3, 0]})
    units = units_table(*[(0, "q", 3, i) for i in range(4)], *[(2, "v", 0, i) for i in range(4)])
    by_head = ablate(model, contexts, heads, acts=acts, draws=19, **OPTIONS)
    by_unit = ablate(model, contexts, units, acts=acts, draws=19, **OPTIONS)
    pd.testing.assert_frame_equal(by_head.table, by_unit.table)


def test_activations_are_collected_where_the_units_are(model, contexts, acts):
    units = units_table((1, "v", 3, 2), (2, "k", 0, 1))
    given = ablate(model, contexts, units, acts=acts, draws=19, **OPTIONS)
    collected = ablate(model, contexts, units, draws=19, **OPTIONS)
    np.testing.assert_allclose(collected.table["effect"], given.table["effect"], atol=1e-5)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (units_table((0, "z", 0, 0)), r"sites q, k, v, mlp_pre of the layers \[0, 1, 2\]; got 'z'"),
        (units_table((0, "q", 0, 1), (0, "q", 0, 1)), "0.q.0.1 is named more than once"),
        (pd.DataFrame({"layer": [0], "head": [0]}), "the table lacks site"),
        (units_table(), "at least one unit is needed"),
        (
            units_table(*[(0, "q", h, i) for h in range(5) for i in range(4)]),
            "got 20 of the 20 units of site q in layer 0: choose fewer",
        ),
    ],
)
def test_units_that_are_refused(model, contexts, acts, units, message):
    with pytest.raises(ValueError, match=message):
        ablate(model, contexts, units, acts=acts, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "noise"}, "how must be one of mean, zero, resample; got 'noise'"),
        ({"follow": 5}, "between 1 and the 4 tokens .* got 5"),
        ({"follow": 0}, "between 1 and the 4 tokens .* got 0"),
        ({"draws": 18}, "draws must be at least 19"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"per_class": 0}, "per_class must be at least 1; got 0"),
    ],
)
def test_arguments_that_are_refused(model, contexts, acts, options, message):
    with pytest.raises(ValueError, match=message):
        ablate(model, contexts, UNITS["gpt2"], acts=acts, **(OPTIONS | options))


def test_contexts_that_are_refused(model, contexts, acts):
    with pytest.raises(TypeError, match=r"units are a DataFrame .* got list"):
        ablate(model, contexts, [(0, "q", 0, 0)])
    with pytest.raises(ValueError, match=r"end with it: find_contexts\(\.\.\., after=10\)"):
        ablate(model, tiny_models.contexts(8, before=6, after=0), UNITS["gpt2"])
    with pytest.raises(ValueError, match="must be of these contexts; they are of 12 other"):
        ablate(model, tiny_models.contexts(8, before=6, after=4), UNITS["gpt2"], acts=acts)
    examples = contexts.examples.assign(label=1, group=contexts.contrast.groups[1])
    with pytest.raises(ValueError, match=r"both classes are needed; got \{1: 12\}"):
        ablate(model, replace(contexts, examples=examples), UNITS["gpt2"])
    with pytest.raises(ValueError, match="context of 32 tokens, got 34"):
        ablate(model, tiny_models.contexts(8, before=30, after=4), UNITS["gpt2"])
    with pytest.raises(ValueError, match="checked must be at least 4"):
        attribute(model, contexts, acts=acts, checked=3)


def test_a_hook_of_another_layout_is_refused(model, contexts, acts):
    from tl_negation.interventions.continuation import _check_shape

    with pytest.raises(RuntimeError, match=r"gave \(2, 5, 7, 4\), but an intervention needs"):
        _check_shape(torch.zeros(2, 5, 7, 4), acts.sites[0], "blocks.0.attn.hook_q")
