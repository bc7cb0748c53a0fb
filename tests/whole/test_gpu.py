"""The same numbers from a GPU as from the CPU, stage by stage."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.intervention_oracles import units_table
from helpers.tiny_models import CLASSES, contexts, gpt2_folder, story

import tl_negation as tln

pytestmark = pytest.mark.gpu
DEVICES = ("cpu", "cuda")
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return gpt2_folder(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module", params=CLASSES)
def models(request, folder):
    bridge = request.param == "TransformerBridge"
    return {device: tln.load_model(folder, bridge=bridge, device=device) for device in DEVICES}


def frames_agree(a, b, rtol=1e-5, atol=1e-7):
    assert list(a.columns) == list(b.columns)
    for name in a:
        if pd.api.types.is_float_dtype(a[name]):
            np.testing.assert_allclose(b[name], a[name], rtol=rtol, atol=atol, err_msg=name)
        else:
            assert a[name].equals(b[name]), name


def test_activations_agree(models):
    asked = contexts()
    cpu, gpu = (tln.collect(model, asked, **QUIET).values for model in models.values())
    assert gpu.shape == cpu.shape
    torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-4, atol=1e-5)


def test_activations_on_a_gpu_are_those_of_run_with_cache(models):
    asked, model = contexts(), models["cuda"]
    got = tln.collect(model, asked, sites=["q"], **QUIET)
    _, cache = model.run_with_cache(asked.tokens.to("cuda"), prepend_bos=False)
    wanted = cache["blocks.1.attn.hook_q"][:, asked.before].flatten(1)
    torch.testing.assert_close(got.values[1].cpu(), wanted.cpu(), rtol=1e-4, atol=1e-5)


def test_inference_agrees_on_the_same_activations(models):
    acts = tln.collect(models["cpu"], contexts(n=60, seed=3), **QUIET)
    options = {"tasks": 2, "replicates": 2, "permutations": 50, **QUIET}
    moved = [replace(acts, values=acts.values.to(device)) for device in DEVICES]
    cpu, gpu = (tln.infer(tln.probe(each, **QUIET), **options).to_frame() for each in moved)
    frames_agree(cpu, gpu)


def test_a_scan_on_a_gpu_says_so_and_is_probed_there(folder, tmp_path):
    text = tmp_path / "story.txt"
    text.write_text(story(), encoding="utf-8")
    options = {"before": 5, "after": 1, **QUIET}
    cpu, gpu = (
        tln.scan(folder, text, out=tmp_path / device, device=device, **options)
        for device in DEVICES
    )
    kept = ["layer", "site", "head", "index", "status"]
    frames_agree(cpu.to_frame()[kept], gpu.to_frame()[kept])
    assert gpu.provenance["model"]["device"] == "cuda:0"


def test_interventions_agree(models):
    asked = contexts(n=12)
    units = units_table((1, "q", 3, 2), (2, "v", 1, 0))
    ablated = [
        tln.ablate(model, asked, units, draws=19, follow=2, **QUIET).examples
        for model in models.values()
    ]
    frames_agree(*ablated, rtol=1e-3, atol=1e-5)
