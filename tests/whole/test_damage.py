"""Random damage to runs and stores: each is refused in words of ours, or makes no difference."""

import random
from collections import Counter

import pytest
import torch
from helpers import crash_cases, damage, tiny_models

import tl_negation as tln

pytestmark = pytest.mark.slow
#: Of each kind of directory.
MUTATIONS = 400


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run as the command writes it: tables, figures, report, activations for display."""
    out = tmp_path_factory.mktemp("whole") / "run"
    options = {"permutations": 20, "tasks": 2, "before": 6, "after": 2, "progress": False}
    tln.scan(model, tln.Text.from_string(tiny_models.story()), out=out, **options)
    return out


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "store"
    crash_cases.stored(model, out)
    return out


def same_result(one, other):
    return (
        (one.sites, one.layers, one.provenance) == (other.sites, other.layers, other.provenance)
        and one.to_frame().equals(other.to_frame())
        and torch.equal(one.contexts.tokens, other.contexts.tokens)
        and one.contexts.examples.equals(other.contexts.examples)
        and one.contexts.source == other.contexts.source
        and one.tables.keys() == other.tables.keys()
        and all(one.tables[name].equals(other.tables[name]) for name in one.tables)
        and one.display.astype(str).equals(other.display.astype(str))
    )


def same_activations(one, other):
    return (
        torch.equal(one.values, other.values)
        and (one.sites, one.layers, one.model) == (other.sites, other.layers, other.model)
        and torch.equal(one.contexts.tokens, other.contexts.tokens)
        and one.contexts.examples.equals(other.contexts.examples)
        and one.contexts.before == other.contexts.before
    )


@pytest.mark.parametrize(
    ("kind", "load", "same"),
    [
        ("run", tln.load_result, same_result),
        ("store", tln.load_activations, same_activations),
    ],
)
def test_random_damage_is_refused_or_makes_no_difference(request, tmp_path, kind, load, same):
    whole = request.getfixturevalue(kind)
    expected, rng, ends = load(whole), random.Random(11), Counter()
    faults = []
    for _ in range(MUTATIONS):
        what = damage.damaged_copy(whole, tmp_path / "copy", rng)
        try:
            found = load(tmp_path / "copy")
        except (ValueError, FileNotFoundError) as error:
            says = str(error)
            good = "is damaged" in says or "is missing" in says or "is not a store" in says
            ends["refused"] += 1
            if not good:
                faults.append(f"{what}: {type(error).__name__}: {says:.200}")
        except Exception as error:  # what this test is about: an error that is not ours
            faults.append(f"{what}: {type(error).__name__}: {error!s:.200}")
        else:
            ends["no difference"] += 1
            if not same(found, expected):
                faults.append(f"{what}: silent")
    assert faults == []
    assert ends["refused"] > 0.8 * MUTATIONS  # of a run's files, figures and page are not read
    print(kind, dict(ends))


def test_what_is_resumed_is_checked_too(model, store, tmp_path):
    """A store that is damaged is neither handed out nor gone on with."""
    rng, faults = random.Random(12), []
    for _ in range(60):
        what = damage.damaged_copy(store, tmp_path / "copy", rng)
        try:
            crash_cases.stored(model, tmp_path / "copy")
        except (ValueError, FileExistsError) as error:
            if "is damaged" not in str(error) and "not a store" not in str(error):
                faults.append(f"{what}: {error!s:.200}")
        except Exception as error:
            faults.append(f"{what}: {type(error).__name__}: {error!s:.200}")
        else:
            if (tmp_path / "copy" / "values.npy").read_bytes() != (
                store / "values.npy"
            ).read_bytes():
                faults.append(f"{what}: silent")
    assert faults == []
