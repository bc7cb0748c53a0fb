"""GGUF files: any that transformers reads, parsed once, the library left as it was."""

import shutil

import gguf
import pytest
import torch
from helpers import gguf_files, tiny_models

import tl_negation as tln
from tl_negation.models.gguf import parsed_once
from tl_negation.models.loading import load_model, load_tokenizer
from tl_negation.models.sizes import sizes_of

TOKENS = torch.arange(1, 25).reshape(2, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    gguf_files.write(gguf_files.qwen2(), folder / "tiny-qwen.gguf")
    gguf_files.write(gguf_files.qwen2(), folder / "tiny-qwen-q8.GGUF", "Q8_0")
    return folder


@pytest.mark.parametrize("class_name", tiny_models.CLASSES)
def test_a_file_is_the_model_that_was_written(folder, class_name):
    path = folder / "tiny-qwen.gguf"
    bridge = class_name == "TransformerBridge"
    model = load_model(path, device="cpu", bridge=bridge, progress=False)
    assert type(model).__name__ == class_name
    wanted = gguf_files.qwen2()(TOKENS).logits
    torch.testing.assert_close(model(TOKENS), wanted, atol=2e-4, rtol=1e-3)
    about = tln.describe_model(model)
    assert about["name"] == str(path)
    assert about["quantised"] is None
    assert about["architecture"] == "qwen2"
    assert about["tokenizer"] == "gpt2"
    assert about["adds_bos"] is False
    assert model.tokenizer.name_or_path == "tiny-qwen"


def test_quantisation_is_told_and_undone(folder):
    path = folder / "tiny-qwen-q8.GGUF"
    model = load_model(str(path), device="cpu", progress=False)
    assert tln.describe_model(model)["quantised"] == "F32, Q8_0 GGUF, dequantised"
    wanted = gguf_files.rounded(gguf_files.qwen2(), "Q8_0")(TOKENS).logits
    torch.testing.assert_close(model(TOKENS), wanted, atol=2e-4, rtol=1e-3)
    assert (wanted - gguf_files.qwen2()(TOKENS).logits).abs().max() > 0.1


def test_a_file_is_not_the_demo_for_its_name(folder, tmp_path):
    path = shutil.copy(folder / "tiny-qwen.gguf", tmp_path / "SmolLM2-135M-Instruct.gguf")
    about = tln.describe_model(load_model(path, device="cpu", progress=False))
    assert about["name"] == str(path)
    assert about["architecture"] == "qwen2"
    assert "sha256" not in about


def test_a_folder_may_be_called_so(tmp_path):
    path = tiny_models.gpt2_folder(tmp_path / "folder.gguf")
    assert load_model(path, device="cpu", progress=False).cfg.n_heads == 5


def test_a_scan_of_a_file(folder, tmp_path):
    path = folder / "tiny-qwen.gguf"
    tokenizer = load_tokenizer(path)
    text = tiny_models.story()
    own = tiny_models.tokenizer()
    assert tokenizer.encode(text[:200], add_special_tokens=False) == own.encode(
        text[:200], add_special_tokens=False
    )
    contexts = tln.find_contexts(text, tokenizer, before=6, after=2)
    model = load_model(path, device="cpu", progress=False)
    acts = tln.collect(model, contexts, ("q", "k"), progress=False)
    assert [site.width for site in acts.sites] == [64, 32]
    found = tln.probe(acts, progress=False)
    assert found.provenance["model"]["source"].startswith("tiny-qwen.gguf, ")


def test_sizes_come_from_the_file(folder):
    sizes = sizes_of(folder / "tiny-qwen.gguf")
    assert (sizes.n_layers, sizes.n_heads, sizes.n_key_value_heads) == (2, 4, 2)


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_files_that_cannot_be_read_are_refused(folder, load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no GGUF file .*none\.gguf"):
        load(tmp_path / "none.gguf")
    part = tmp_path / "big-00001-of-00003.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"one part of several.*join them first"):
        load(part)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no such thing" * 100)
    with pytest.raises(ValueError, match=r"broken\.gguf is not a GGUF file that the installed"):
        load(broken)


def test_a_file_is_parsed_once_and_the_library_is_left_as_it_was(monkeypatch):
    read = []

    def reader(path):
        read.append(path)
        return object()

    monkeypatch.setattr(gguf, "GGUFReader", reader)
    own = gguf.GGUFReader, gguf.get_tensor_name_map
    with parsed_once():
        assert gguf.GGUFReader("a") is gguf.GGUFReader("a")
        assert gguf.GGUFReader("a") is not gguf.GGUFReader("b")
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
        assert names is gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
        assert names.mapping == own[1](gguf.MODEL_ARCH.LLAMA, 3).mapping
    assert read == ["a", "b"]
    with pytest.raises(ZeroDivisionError), parsed_once():
        _ = 1 / 0
    assert own == (gguf.GGUFReader, gguf.get_tensor_name_map)
