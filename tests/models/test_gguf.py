"""A GGUF file is parsed once, and the library that does it is left as it was."""

import gguf
import pytest

from tl_negation.models.gguf import parsed_once


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
