"""Bytes and hours before a run: the formulas against what torch counts and a real run weighs."""

import json
import math
import re

import pytest
import torch
from helpers import tiny_models
from helpers.command_line import invoke, plain
from torch.utils.flop_counter import FlopCounterMode

from tl_negation import ModelSizes, collect, find_contexts, load_text, plan, probe, sites_of
from tl_negation.commands.tables import format_value
from tl_negation.models.sites import SITES
from tl_negation.models.sizes import sizes_of
from tl_negation.runs import machine
from tl_negation.runs.machine import HARDWARE

LARGE = ModelSizes(80, 8192, 64, 128, 28672, 8, gated_mlp=True, d_vocab=128_256)
BY_HAND = ["--layers", "80", "--d-model", "8192", "--heads", "64", "--kv-heads", "8"]
BY_HAND += ["--d-head", "128", "--d-mlp", "28672"]
WINDOW = {"before": 6}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Measure for a moment: these tests are not about the machine's speed."""
    monkeypatch.setattr(machine, "MEASURED_SECONDS", 0.0)
    monkeypatch.setattr(machine, "BLOCK_FLOPS", 1e8)
    for name in ("PROBE_UNITS", "WORD_UNITS"):
        monkeypatch.setattr(machine, name, 16)
    monkeypatch.setattr(machine, "WORD_EXAMPLES", 60)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    return {"gpt2": tiny_models.gpt2_folder(path), "llama": tiny_models.llama_folder(path)}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(tiny_models.story(), "utf-8")
    return path


def value(table, stage, quantity):
    rows = table[(table["stage"] == stage) & (table["quantity"] == quantity)]
    assert len(rows) == 1, (stage, quantity)
    return rows["value"].iloc[0]


def basis(table, stage, quantity):
    return table[(table["stage"] == stage) & (table["quantity"] == quantity)]["basis"].iloc[0]


@pytest.mark.parametrize("name", tiny_models.CLASSES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("sites", [("q",), ("q", "k"), ("k", "v"), ("q", "mlp_pre")], ids="-".join)
def test_operations_are_those_that_torch_counts(folders, family, name, sites):
    model = tiny_models.load(folders[family], name)
    counted = []
    for n in (5, 10):  # the difference leaves out what collect checks of the weights before it
        with FlopCounterMode(display=False) as counter:
            collect(model, tiny_models.contexts(n), sites, batch_size=n, progress=False)
        counted.append(counter.get_total_flops())
    expected = 5 * sizes_of(model).forward_flops(7, sites)
    # A Llama of Hugging Face makes its rotary angles by a product of its own: d_head / 2 x tokens.
    rotary = 0 if family == "gpt2" or name == "HookedTransformer" else 5 * 2 * 4 * 7
    assert expected <= counted[1] - counted[0] <= expected + rotary


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_sizes_are_read_off_a_model_its_folder_and_its_configuration_alike(folders, family):
    model = tiny_models.load(folders[family])
    loaded, named = sizes_of(model), sizes_of(folders[family])
    assert vars(loaded) | {"name": ""} == vars(named) | {
        "name": "", "n_key_value_heads": loaded.n_key_value_heads
    }  # fmt: skip
    assert loaded.kv_heads == named.kv_heads
    assert sizes_of(named) is named
    matrices = sum(
        weight.numel()
        for key, weight in model.named_parameters()
        if any(part in key for part in ("W_", ".weight")) and weight.ndim > 1 and "pos" not in key
    )
    if type(model).__name__ == "HookedTransformer":
        # its grouped heads are stored as they are; position embeddings are not counted
        assert named.parameters == matrices


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_widths_are_those_of_the_sites(folders, family):
    model = tiny_models.load(folders[family])
    sizes = sizes_of(model)
    for name, site in sites_of(model).items():
        assert sizes.width(name) == site.width, name


def test_a_pass_that_stops_later_costs_more_and_the_last_costs_all_layers():
    costs = [LARGE.forward_flops(91, (site,)) for site in SITES]
    assert costs == sorted(costs)
    # two operations a weight and token and the scores, but for the last MLP: at one token of 91
    weights = LARGE.parameters - 2 * 8192 * 128_256
    last = 2 * 3 * 8192 * 28_672
    assert costs[-1] == 91 * 2 * weights + 80 * 4 * 91**2 * 8192 - 90 * last
    assert costs[0] == 79 * LARGE.layer_flops(91) - 90 * last


def test_a_plan_weighs_what_a_run_weighs(folders, story):
    model = tiny_models.load(folders["gpt2"])
    contexts = find_contexts(load_text(story), model.tokenizer, before=6)
    acts = collect(model, contexts, ("q", "mlp_pre"), progress=False)
    result = probe(acts, progress=False)
    table = plan(folders["gpt2"], text=story, sites=("q", "mlp_pre"), **WINDOW)
    assert value(table, "text", "contexts found") == len(contexts)
    assert value(table, "text", "negations") == int(contexts.labels.sum())
    assert value(table, "text", "tokens") == contexts.source["tokens"]
    assert value(table, "activations", "all layers") == acts.values.nbytes
    assert value(table, "activations", "one layer") * 3 == acts.values.nbytes
    assert value(table, "activations", "units") == result.status.numel()
    weight = sum(column.nbytes for column in result.columns.values())
    assert value(table, "result", "by example") == weight
    assert "as in " in basis(table, "text", "contexts found")
    assert "measured: one layer of d_model 20" in basis(table, "forward", "speed of a device")
    times = table[table["unit"] == "s"]["value"]
    assert len(times) == 4
    assert (times > 0).all()


@pytest.mark.slow
def test_a_loaded_model_and_a_longer_text(folders, story):
    table = plan(tiny_models.load(folders["llama"]), text=story, tokens=1e6, **WINDOW)
    short = plan(folders["llama"], text=story, tokenizer=folders["llama"], **WINDOW)
    ratio = 1e6 / value(short, "text", "tokens")
    for name in ("contexts found", "negations", "affirmations"):
        assert value(table, "text", name) == pytest.approx(ratio * value(short, "text", name))


def test_without_a_text_the_rate_is_the_measured_one_and_is_stated():
    table = plan(LARGE, tokens=1e9, hardware="h100", dtype="bfloat16", devices=8)
    assert value(table, "text", "contexts found") == pytest.approx(1e9 * 1719 / 164_404)
    assert "10.5 per 1,000 tokens" in basis(table, "text", "contexts found")
    units = 80 * (64 + 8 + 8) * 128
    assert value(table, "activations", "all layers") == pytest.approx(
        4 * units * 1e9 * 1719 / 164_404
    )


@pytest.mark.slow
def test_drawn_contexts_are_at_most_the_number_asked_for():
    table = plan(LARGE, tokens=1e7, per_class=1000, hardware="h100", dtype="bfloat16", devices=2)
    assert value(table, "text", "contexts used") == 2000
    few = plan(LARGE, tokens=1e5, per_class=10_000, hardware="h100", dtype="bfloat16", devices=2)
    assert value(few, "text", "contexts used") == value(few, "text", "contexts found")


@pytest.mark.slow
def test_hours_elsewhere_follow_from_published_peaks_and_the_printed_share():
    asked = {"tokens": 1e9, "dtype": "bfloat16", "devices": 8}
    table = plan(LARGE, hardware="h100", **asked)
    assert value(table, "forward", "devices for one model") == 2
    assert value(table, "forward", "models at work") == 4
    work = value(table, "forward", "operations")
    assert value(table, "forward", "time") == pytest.approx(work / (0.35 * 989.4e12) / 4)
    assert "35% of the peak (assumed); NVIDIA H100 SXM" in basis(
        table, "forward", "speed of a device"
    )
    assert "not on the one planned for" in basis(table, "probe", "time")
    own = plan(LARGE, flops=1e15, device_memory=200e9, utilisation=0.5, **asked)
    assert value(own, "forward", "models at work") == 8
    assert value(own, "forward", "time") == pytest.approx(work / 0.5e15 / 8)
    unknown = plan(LARGE, flops=1e15, **asked)
    assert "not given" in basis(unknown, "forward", "devices for one model")


def test_too_few_devices_give_no_time():
    table = plan(LARGE, tokens=1e6, hardware="h100", dtype="bfloat16")
    assert math.isnan(value(table, "forward", "time"))
    assert "too few devices" in basis(table, "forward", "time")


def test_published_figures_are_sane():
    for known in HARDWARE.values():
        assert known.flops["bfloat16"] == known.flops["float16"] > known.flops["float32"]
        assert 20e9 < known.memory < 200e9


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tokens": None}, ValueError, "give the number of tokens to plan for, or a text"),
        ({"tokens": -1}, ValueError, "tokens must be above 0 and finite; got -1"),
        ({"tokens": math.nan}, ValueError, "tokens must be above 0 and finite"),
        ({"tokens": True}, TypeError, "tokens must be a number; got True"),
        ({"before": -1}, ValueError, "before counts tokens and cannot be negative"),
        ({"before": True}, TypeError, "before must be an integer"),
        ({"per_class": 0}, ValueError, "per_class must be at least 1; got 0"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of float32, bfloat16, float16"),
        ({"hardware": "abacus"}, ValueError, "unknown hardware 'abacus'; there are a100, h100"),
        ({"hardware": "h10"}, ValueError, "rtx4090: did you mean 'h100'?"),
        ({"utilisation": 2}, ValueError, "utilisation is a share of the peak, at most 1"),
        ({"devices": 0}, ValueError, "devices must be at least 1; got 0"),
        ({"sites": ("p",)}, ValueError, "unknown site 'p'; there are resid_pre, q"),
        ({"sites": ()}, ValueError, "no site was asked for"),
        ({"text": "builtin:python-docs"}, ValueError, "sizes given by hand have no tokenizer"),
        ({"device": "abacus"}, ValueError, "cannot use device 'abacus'"),
    ],
)
def test_what_cannot_be_planned(changes, error, message):
    with pytest.raises(error, match=message):
        plan(LARGE, **({"tokens": 1e6} | changes))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_layers": 0}, ValueError, "n_layers must be at least 1; got 0"),
        ({"d_mlp": True}, TypeError, "d_mlp must be an integer; got True"),
        ({"n_key_value_heads": 9}, ValueError, "keys have at most as many heads as queries"),
        ({"d_vocab": -1}, ValueError, "d_vocab counts tokens"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, error, message):
    sizes = {"n_layers": 2, "d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 32}
    with pytest.raises(error, match=message):
        ModelSizes(**(sizes | changes))


def test_models_that_are_not_known_by_these_sizes(tmp_path):
    from transformers import MixtralConfig

    with pytest.raises(TypeError, match="model must be of type TransformerLensModel"):
        sizes_of(torch.nn.Linear(2, 2))
    MixtralConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a mixture of experts"):
        sizes_of(tmp_path)


def test_layers_of_another_make_are_refused(tmp_path):
    from transformers import FalconConfig

    sizes = {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4}
    # Falcon's default is one head of keys and values, which its configuration does not say.
    FalconConfig(**sizes, vocab_size=50).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not attention and an MLP of two or three matrices"):
        sizes_of(tmp_path)


def test_a_name_that_is_not_here_says_to_give_sizes(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(OSError, match=r"cannot load 'gpt2-large' .* or the model's sizes by hand"):
        sizes_of("gpt2-large")


def test_llama_is_known_offline_where_transformer_lens_wrote_its_sizes_down(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    name = "meta-llama/Llama-2-70b-chat-hf"
    if "HookedTransformer" not in tiny_models.CLASSES:  # TransformerLens 4 has no such tables
        with pytest.raises(OSError, match="or the model's sizes by hand"):
            sizes_of(name)
        return
    sizes = sizes_of(name)
    assert (sizes.n_layers, sizes.d_model, sizes.kv_heads) == (80, 8192, 8)
    assert sizes.parameters == pytest.approx(69e9, rel=0.01)


# ------------------------------------------------------------------ command


def test_the_command_prints_a_table_that_says_where_its_numbers_come_from():
    done = invoke(
        "plan", "--tokens", "1e9", *BY_HAND, "--dtype", "bfloat16", "--hardware", "h100",
        "--devices", 8,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    printed = plain(done.output)
    for words in ("Before a run: bytes and hours", "34.3 TB", "1,000,000,000", "(assumed)"):
        assert words in printed
    assert "embeddings" in printed


def test_the_command_in_json_for_a_folder(folders, story):
    done = invoke(
        "plan", "--model", folders["gpt2"], "--text", story, "--before", 6, "--sites", "q,k",
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["plan"]
    assert {row["stage"] for row in rows} >= {"text", "model", "forward", "probe", "over words"}
    units = next(row["value"] for row in rows if row["quantity"] == "units")
    assert units == 3 * 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers", 3), "name a model .* or give its sizes too: --d-model, --heads, --d-head"),
        (("--model", "demo", "--layers", 3), "a model or its sizes by hand, not both"),
        (BY_HAND, "give the number of tokens to plan for"),
    ],
)
def test_bad_input_to_the_command_is_one_line(arguments, message):
    done = invoke("plan", *arguments)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    ("number", "unit", "words"),
    [
        (1234.5, "", "1,234"), (34.4e12, "B", "34.4 TB"), (0, "B", "0 B"), (12, "s", "12 s"),
        (180, "s", "3 minutes"), (7300, "s", "2.03 hours"), (86_400 * 3, "s", "3 days"),
        (86_400 * 1000, "s", "2.74 years"), (math.nan, "s", "-"), (3.5e14, "FLOP/s", "350 TFLOP/s"),
    ],
)  # fmt: skip
def test_values_are_written_for_people(number, unit, words):
    assert format_value(number, unit) == words
