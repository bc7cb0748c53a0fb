"""A change of any byte of a sealed file shows."""

import json
import random
import tokenize

import pytest

from tl_negation._shared.sealed import file_sha256, first_changed, read_sealed, read_whole, sealed

CONTENT = {"format": "x", "numbers": [1, 2.5, 1e-300], "text": "not \u2019", "sha": "0" * 64}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(sealed(CONTENT), encoding="utf-8")
    return path


def test_what_is_sealed_is_read_as_it_was(path):
    assert read_sealed(path) == (CONTENT, True)
    assert list(json.loads(path.read_text("utf-8")))[-1] == "sha256"


def test_a_file_without_a_seal_is_read_and_said_to_have_none(path):
    path.write_text(json.dumps(CONTENT))
    assert read_sealed(path) == (CONTENT, False)


def test_a_change_of_any_byte_shows(path):
    data, rng = path.read_bytes(), random.Random(0)
    for place in range(len(data)):
        changed_byte = rng.choice([byte for byte in range(256) if byte != data[place]])
        path.write_bytes(data[:place] + bytes([changed_byte]) + data[place + 1 :])
        try:
            content, is_sealed = read_sealed(path)
        except ValueError:
            continue
        assert not is_sealed  # the entry's own name was changed: the format says that there is one
        assert len(content) == len(CONTENT) + 1
    for end in range(len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"."):
            read_sealed(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[1]", "it holds a list, not an object"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode"),
        (b'{"a": 1, "sha256": "' + b"0" * 64 + b'"}', "its SHA-256 is not that of its content"),
        (b'{"a": 1, "sha256": 7}', "its SHA-256 is not that of its content"),
    ],
)
def test_what_is_no_sealed_file_is_refused(path, data, message):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_sealed(path)


def test_the_first_changed_file_is_named(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    files = {name: file_sha256(tmp_path / name) for name in "abc"}
    assert first_changed(tmp_path, files) is None
    (tmp_path / "b").write_text("other")
    assert first_changed(tmp_path, files) == "b"
    (tmp_path / "b").unlink()  # whoever needs it says that it is missing
    assert first_changed(tmp_path, files) is None


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("x"), RecursionError("x"), tokenize.TokenError("x")]
)
def test_whatever_goes_wrong_in_reading_is_damage(path, error):
    with (
        pytest.raises(ValueError, match=r"a\.json is damaged \(\w+Error: .*x.*\); scan again"),
        read_whole(path, "scan again"),
    ):
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError, MemoryError])
def test_what_is_not_there_or_does_not_fit_is_no_damage(path, error):
    with pytest.raises(error, match="as it is"), read_whole(path, "scan again"):
        raise error("as it is")
