"""Activations on disk: the same values, opened again, refused where they do not fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_models

import tl_negation as tln
from tl_negation._shared.sealed import read_sealed, sealed
from tl_negation.activations import store as store_module
from tl_negation.activations.collect import collect, load_activations
from tl_negation.inference.extras import EXTRAS

NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)
SITES = ("q", "mlp_pre")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.gpt2_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(folder):
    return tiny_models.load(folder)


@pytest.fixture
def short(monkeypatch):
    """Let a stretch be two batches, so that few contexts make several."""
    monkeypatch.setattr(store_module, "STRETCH_BATCHES", 2)


def stored(model, contexts, store, sites=SITES, **options):
    return collect(model, contexts, sites, store=store, progress=False, **options)


def forbid(model, monkeypatch):
    """Fail if the model runs."""
    fails = tiny_models.as_librarys(lambda *_, **__: pytest.fail("the model ran"))
    monkeypatch.setattr(model, "forward", fails)


@NAMES
@pytest.mark.parametrize("batch_size", [1, 3, 4, None])
def test_the_same_values_as_in_memory(folder, name, tmp_path, batch_size, short):
    model, contexts = tiny_models.load(folder, name), tiny_models.contexts(n=11)
    expected = collect(model, contexts, SITES, batch_size=batch_size, progress=False)
    acts = stored(model, contexts, tmp_path / "a", batch_size=batch_size)
    assert torch.equal(acts.values, expected.values)
    assert (acts.sites, acts.layers, acts.model) == (
        expected.sites,
        expected.layers,
        expected.model,
    )
    assert str(tmp_path / "a" / "values.npy") in Path("/proc/self/maps").read_text()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "contexts.parquet", "manifest.json", "values.npy"
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["a"]  # the lock is gone


def test_layers_and_half_precision(folder, tmp_path):
    model = tiny_models.load(folder, dtype=torch.bfloat16)
    expected = collect(model, tiny_models.contexts(), SITES, layers=[2, 0], progress=False)
    acts = stored(model, tiny_models.contexts(), tmp_path / "a", layers=[2, 0])
    assert torch.equal(acts.values, expected.values)
    assert acts.layers == (0, 2)


def test_a_finished_store_is_opened_without_the_model(model, tmp_path, monkeypatch):
    contexts = tiny_models.contexts()
    first = stored(model, contexts, tmp_path / "a")
    forbid(model, monkeypatch)
    # How they were computed matters no longer, nor does another reader.
    again = stored(model, contexts, tmp_path / "a", batch_size=2)
    alone = load_activations(tmp_path / "a")
    for acts in (again, alone):
        assert torch.equal(acts.values, first.values)
        assert (acts.sites, acts.layers, acts.model) == (first.sites, first.layers, first.model)
    assert torch.equal(alone.contexts.tokens, contexts.tokens)
    assert alone.contexts.examples.equals(contexts.examples)
    assert alone.contexts.contrast == contexts.contrast


@pytest.mark.slow
def test_probe_and_inference_of_a_store(folder, tmp_path):
    text = tln.load_text([_text(tmp_path)] * 2)  # documents, so that one can be left out
    options = {"before": 6, "after": 2, "permutations": 100, "tasks": 2, "progress": False}
    options["extras"] = list(EXTRAS)
    expected = tln.scan(tiny_models.load(folder), text, **options)
    result = tln.scan(tiny_models.load(folder), text, store=tmp_path / "a", **options)
    assert result.to_frame().equals(expected.to_frame())
    assert result.tables.keys() == expected.tables.keys()
    for name, table in expected.tables.items():
        assert result.tables[name].equals(table)
    alone = tln.probe(load_activations(tmp_path / "a"), progress=False)
    assert torch.equal(alone.columns["p"], expected.columns["p"])


def _text(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(tiny_models.story())
    return path


def test_writing_into_the_values_leaves_the_store_alone(model, tmp_path):
    acts = stored(model, tiny_models.contexts(), tmp_path / "a")
    before = acts.values.clone()
    acts.values[0, 0] = 7
    assert torch.equal(load_activations(tmp_path / "a").values, before)


def test_a_map_larger_than_memory(tmp_path):
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total = 1024 * sum(int(meminfo[name].split()[0]) for name in ("MemTotal", "SwapTotal"))
    shape = (2, total // 2**20, 2**18)  # twice the memory, and no block of it on the disk
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, shape)
    array = store_module._map(tmp_path / "large.npy")
    assert array.shape == shape
    assert array[-1, -1, -1] == 0


CHANGES = {
    "contexts": lambda kw: kw | {"contexts": tiny_models.contexts(n=11, seed=1)},
    "labels": lambda kw: kw | {"contexts": _relabelled(kw["contexts"])},
    "sites": lambda kw: kw | {"sites": ("q", "k")},
    "layers": lambda kw: kw | {"layers": (0, 1)},
}
SAYS = {
    "contexts": r"\ncontexts: it holds [0-9a-f]{64}, asked for [0-9a-f]{64}$",
    "labels": r"\ncontexts: it holds",
    "sites": r"\nsites: it holds \[\{'name': 'q'.*mlp_pre.*asked for .*'name': 'k'.*\nshape: it",
    "layers": r"\nlayers: it holds \[0, 1, 2\], asked for \[0, 1\]\nshape: it holds \[3, 11, 100\]",
}


def _relabelled(contexts):
    label = 1 - contexts.examples["label"]
    group = label.map(dict(enumerate(contexts.contrast.groups)))
    return replace(contexts, examples=contexts.examples.assign(label=label, group=group))


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_of_something_else_is_refused(model, tmp_path, monkeypatch, change):
    asked = {"contexts": tiny_models.contexts(n=11)}
    stored(model, store=tmp_path / "a", **asked)
    forbid(model, monkeypatch)
    with pytest.raises(FileExistsError, match=SAYS[change]):
        stored(model, store=tmp_path / "a", **CHANGES[change](asked))


@NAMES
@pytest.mark.parametrize("other", ["seed", "one", "dtype"])
def test_a_store_of_another_model_is_refused(folder, name, tmp_path, other):
    model, contexts = tiny_models.load(folder, name), tiny_models.contexts()
    stored(model, contexts, tmp_path / "a")
    if other == "seed":
        model = tiny_models.load(tiny_models.gpt2_folder(tmp_path, seed=1), name)
    elif other == "dtype":
        model = tiny_models.load(folder, name, dtype=torch.bfloat16)
    else:  # as a fine-tuning of a single matrix
        parameters = dict(model.named_parameters())
        parameters[next(key for key in parameters if "mlp" in key and "1" in key)].mul_(1.001)
    says = r"does not fit.*\nweights: it holds [0-9a-f]{64}, asked for"
    says = (
        says.replace("weights", "model: it holds .*tiny-gpt2, asked for .*\nweights")
        if other == "seed"
        else says
    )
    with pytest.raises(FileExistsError, match=says):
        stored(model, contexts, tmp_path / "a")


def test_the_same_weights_under_another_path_fit(folder, tmp_path):
    stored(tiny_models.load(folder), tiny_models.contexts(), tmp_path / "a")
    moved = shutil.copytree(folder, tmp_path / "moved")
    acts = stored(tiny_models.load(moved), tiny_models.contexts(), tmp_path / "a")
    assert acts.model["name"] == str(folder)  # of the model that was run


def stop_after(model, monkeypatch, calls, error):
    """Let the model raise at its so-many-th batch; return what undoes that."""
    forward, seen = model.forward, []

    def dying(tokens, *args, **kwargs):
        seen.append(len(tokens))
        if len(seen) > calls:
            raise error
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(dying))
    return lambda: monkeypatch.setattr(model, "forward", forward)


@pytest.mark.parametrize("calls", range(6))
def test_a_run_that_died_goes_on_where_it_stopped(model, tmp_path, monkeypatch, short, calls):
    contexts = tiny_models.contexts(n=11)
    expected = stored(model, contexts, tmp_path / "whole", batch_size=2)
    again = stop_after(model, monkeypatch, calls, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        stored(model, contexts, tmp_path / "a", batch_size=2)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["done"] == 4 * (calls // 2)  # whole stretches of two batches
    with pytest.raises(ValueError, match=rf"holds {manifest['done']} of 11 examples; finish it"):
        load_activations(tmp_path / "a")
    again()
    sizes = spy(model, monkeypatch)
    acts = stored(model, contexts, tmp_path / "a", batch_size=2)
    assert sum(sizes) == 11 - manifest["done"]
    assert torch.equal(acts.values, expected.values)
    assert (tmp_path / "a" / "values.npy").read_bytes() == (
        tmp_path / "whole" / "values.npy"
    ).read_bytes()


def spy(model, monkeypatch):
    """Note the number of contexts in each call of the model."""
    sizes, forward = [], model.forward

    def noted(tokens, *args, **kwargs):
        sizes.append(len(tokens))
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(noted))
    return sizes


def test_an_unfinished_store_wants_the_same_batches(model, tmp_path, monkeypatch, short):
    again = stop_after(model, monkeypatch, 2, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        stored(model, tiny_models.contexts(), tmp_path / "a", batch_size=2)
    again()
    with pytest.raises(FileExistsError, match=r"\nbatch_size: it holds 2, asked for 3$"):
        stored(model, tiny_models.contexts(), tmp_path / "a", batch_size=3)
    manifest = tmp_path / "a" / "manifest.json"
    held, _ = read_sealed(manifest)
    held["holds"]["versions"]["torch"] = "2.0"
    manifest.write_text(sealed(held))
    with pytest.raises(FileExistsError, match=r"\nversions: it holds .*'torch': '2.0'"):
        stored(model, tiny_models.contexts(), tmp_path / "a", batch_size=2)


def test_a_batch_size_that_fitted_is_kept_over_a_stop(model, tmp_path, monkeypatch, short):
    contexts, forward = tiny_models.contexts(n=24), model.forward

    def greedy(tokens, *args, **kwargs):
        if len(tokens) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB (GPU 0; ...)")
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(greedy))
    expected = stored(model, contexts, tmp_path / "whole", batch_size=4)
    again = stop_after(model, monkeypatch, 6, ZeroDivisionError)  # the first fails, five fit
    with pytest.raises(ZeroDivisionError):
        stored(model, contexts, tmp_path / "a", batch_size=4)
    again()
    monkeypatch.setattr(model, "forward", forward)
    sizes = spy(model, monkeypatch)
    acts = stored(model, contexts, tmp_path / "a", batch_size=4)
    assert sizes == [2] * 8
    assert torch.equal(acts.values, expected.values)


def test_a_directory_that_is_no_store_is_left_alone(model, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("all of it")
    with pytest.raises(
        FileExistsError, match=r"a is not a store of activations \(it has no manifest"
    ):
        stored(model, tiny_models.contexts(), tmp_path / "a")
    with pytest.raises(FileExistsError, match=r"thesis\.tex is not a store of activations"):
        stored(model, tiny_models.contexts(), tmp_path / "a" / "thesis.tex")
    with pytest.raises(FileNotFoundError, match="a is not a store of activations"):
        load_activations(tmp_path / "a")
    assert (tmp_path / "a" / "thesis.tex").read_text() == "all of it"
    (tmp_path / "empty").mkdir()
    assert len(stored(model, tiny_models.contexts(), tmp_path / "empty").contexts) == 11


def test_too_little_room_is_said_before_the_model_runs(model, tmp_path, monkeypatch):
    forbid(model, monkeypatch)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"need 0\.000 GB more, .* has 0\.000 GB free; make room"):
        stored(model, tiny_models.contexts(), tmp_path / "new" / "a")


def test_a_store_within_the_run_is_refused(model, tmp_path):
    text = tln.load_text(_text(tmp_path))
    for store in (tmp_path / "run", tmp_path / "run" / "store"):
        with pytest.raises(ValueError, match="its activations cannot lie within it: the store is"):
            tln.scan(model, text, out=tmp_path / "run", store=store)


def test_a_store_takes_values_of_its_own_type_only(model, tmp_path):
    stored(model, tiny_models.contexts(), tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    store = store_module.Store(tmp_path / "a", manifest["holds"], manifest["about"], 4)
    before = (tmp_path / "a" / "values.npy").read_bytes()
    for dtype in (torch.float64, torch.bfloat16):
        with pytest.raises(TypeError, match=rf"holds float32, 4 bytes a value; got {dtype}"):
            store.write(0, torch.ones(3, 2, 100, dtype=dtype))
    assert (tmp_path / "a" / "values.npy").read_bytes() == before


def test_a_store_of_an_earlier_version_does_not_say_what_model_it_is_of(model, tmp_path):
    stored(model, tiny_models.contexts(), tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    manifest, _ = read_sealed(path)
    for name in ("config", "modules", "arithmetic"):
        del manifest["holds"][name]
    del manifest["stretches"], manifest["contexts_file"]
    path.write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(FileExistsError, match=r"\nmodules: it does not say \(an earlier version"):
        stored(model, tiny_models.contexts(), tmp_path / "a")
    assert load_activations(tmp_path / "a").layers == (0, 1, 2)
