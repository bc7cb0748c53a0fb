"""Contexts, activations and results made from arrays, without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from tl_negation.activations.activations import Activations
from tl_negation.corpus.contexts import Contexts
from tl_negation.corpus.contrast import NEGATION
from tl_negation.inference.clusters import cluster_robust
from tl_negation.inference.heads import head_probe
from tl_negation.inference.heldout import held_out
from tl_negation.inference.infer import infer
from tl_negation.inference.penalised import penalise
from tl_negation.models.sites import Site
from tl_negation.probing.probe import probe
from tl_negation.probing.results import ProbeResult

#: 5 heads of 4, 2 heads of 4, one row of 7 units, in 3 layers: no two numbers alike.
SITES = (
    Site("q", "blocks.{layer}.attn.hook_q", "attn", 5, 4),
    Site("k", "blocks.{layer}.attn.hook_k", "attn", 2, 4),
    Site("mlp_pre", "blocks.{layer}.mlp.hook_pre", "mlp", 1, 7),
)
WIDTH = 35

# GPT-2's tokens at the targets of "The Variable Man" under the reference notebook's rule, as
# find_contexts(text, tokenizer, before=90, after=10, preset="notebook").counts() gives them.
NEGATIONS = {
    "'t": 118, " not": 69, " Not": 8, " never": 6, "not": 5, " cannot": 4, "Not": 2, " NOT": 2,
    " nor": 1, "never": 1,
}  # fmt: skip
AFFIRMATIONS = {
    " can": 68, " could": 40, " should": 16, " may": 15, "could": 7, " might": 6, " agree": 6,
    " May": 5, "Can": 5, " Can": 3, " allow": 3, "can": 2, " Could": 1, "should": 1,
    " certainly": 1, " always": 1, "agree": 1, " shall": 1,
}  # fmt: skip


def word_of(token: str) -> str:
    """The word type of a token: merged over case and the space before it."""
    return "n't" if token == "'t" else token.strip().lower()


def tokens_of(counts: Mapping[str, int]) -> list[str]:
    """Each token as often as it occurs."""
    return [token for token, times in counts.items() for _ in range(times)]


def story_contexts() -> Contexts:
    """The 216 negations and 182 affirmations of "The Variable Man": 28 tokens, 15 words."""
    ones, zeros = tokens_of(NEGATIONS), tokens_of(AFFIRMATIONS)
    tokens = [*ones, *zeros]
    return contexts([1] * len(ones) + [0] * len(zeros), list(map(word_of, tokens)), tokens)


def contexts(
    labels: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str] | None = None,
    positions: Sequence[int] | None = None,
    documents: Sequence[int] | None = None,
) -> Contexts:
    """A window of two tokens per example; label, word, token, position, document mean something."""
    labels, words = [int(label) for label in labels], [str(word) for word in words]
    n = len(labels)
    table = pd.DataFrame(
        {
            "label": labels,
            "group": [NEGATION.groups[label] for label in labels],
            "word": words,
            "surface": words,
            "token": list(tokens if tokens is not None else words),
            "position": list(positions if positions is not None else range(n)),
            "start": range(n),
            "end": range(1, n + 1),
            "passage": words,
            "in_boilerplate": False,
            "document": list(documents if documents is not None else [0] * n),
        }
    )
    source = {"source": "made", "contrast": NEGATION.to_dict()}
    return Contexts(torch.zeros(n, 2, dtype=torch.int64), table, 1, NEGATION, source)


def activations(
    values: np.ndarray | torch.Tensor,
    of: Contexts,
    sites: Sequence[Site] = SITES,
    layers: Sequence[int] | None = None,
) -> Activations:
    """Activations [layer, example, unit]; one site as wide as they are where ``SITES`` do not fit.

    The layers are numbered 2, 5, 8 ... so that a number is never taken for a row.
    """
    values = torch.as_tensor(values).float()
    if values.shape[2] != sum(site.width for site in sites):
        sites = (Site("q", SITES[0].hook, "attn", 1, values.shape[2]),)
    layers = layers if layers is not None else range(2, 2 + 3 * len(values), 3)
    return Activations(values, tuple(sites), tuple(layers), of, {"name": "made"})


def result(
    values: np.ndarray | torch.Tensor, labels: Sequence[int], words: Sequence[str], **options
) -> ProbeResult:
    """The plain probe of made activations."""
    return probe(activations(values, contexts(labels, words)), progress=False, **options)


def bare(acts: Activations) -> ProbeResult:
    """A result without the plain probe's columns, for tests that need only the activations."""
    status = torch.zeros(acts.values.shape[0], acts.values.shape[2], dtype=torch.int8)
    provenance = {"test": {"alpha": 0.05, "family": "layer", "correction": "bonferroni"}}
    return ProbeResult({"status": status}, acts.sites, acts.layers, acts.contexts, provenance, acts)


def small(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [layer 3, example 61, unit 35], labels, words: 4 and 5 words of unequal counts.

    The examples lie in random order; each unit holds something of the word, of the category and
    of the example.
    """
    rng = np.random.default_rng(seed)
    counts = {"not": 11, "n't": 9, "never": 5, "nor": 2}
    counts |= {"can": 13, "could": 8, "may": 6, "shall": 4, "agree": 3}
    words = rng.permutation(tokens_of(counts))
    labels = np.isin(words, ["not", "n't", "never", "nor"]).astype(np.int64)
    of_word = {word: rng.normal(size=(3, WIDTH)) for word in counts}
    values = np.stack([of_word[word] for word in words], axis=1)
    values += rng.uniform(-2, 2, size=(3, 1, WIDTH)) * labels[None, :, None]
    values += rng.normal(size=values.shape)
    return values * 10 ** rng.uniform(-2, 2, size=(3, 1, WIDTH)), labels, words


def every_outcome() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The small activations with one unit of each failed outcome that data can bring about."""
    values, labels, words = small()
    values[0, :, 1] = labels + 0.1 * np.arange(61) / 61
    values[0, :, 24] = np.where(labels == 1, 3.0, 1.0)
    values[0, :2, 24] = 2 + 0 * labels[:2]
    values[0, np.flatnonzero(labels == 1)[0], 24] = 2
    values[0, np.flatnonzero(labels == 0)[0], 24] = 2
    values[1, :, 19] = 0.25
    values[2, 7, 34] = np.nan
    return values, labels, words


def full(plain: ProbeResult) -> ProbeResult:
    """The result with every column that the package can add, a table and something to display."""
    of = infer(plain, permutations=50, tasks=2, replicates=2, progress=False)
    of = held_out(of, by="block", progress=False)
    of = _by_documents(of)
    of = cluster_robust(penalise(of))
    of = of.with_table("heads", head_probe(of.activations, progress=False))
    rows = [{"layer": 2, "site": "q", "head": 0, "index": 1, "example": i} for i in (0, 3)]
    display = pd.DataFrame(rows).assign(
        tokens=[[" not", "\u2019\n"]] * 2, values=[[0.5, -1.25]] * 2
    )
    return replace(of, display=display)


def _by_documents(result: ProbeResult) -> ProbeResult:
    """Held out by documents, as if the examples came from four of them in turn."""
    contexts = result.contexts
    four = contexts.examples.assign(document=np.arange(len(contexts)) % 4)
    acts = replace(result.activations, contexts=replace(contexts, examples=four))
    of = held_out(replace(result, activations=acts), by="document", progress=False)
    return replace(of, activations=result.activations)


def lexical_units(
    kinds: Sequence[str], n_units: int, rng: np.random.Generator, noise: float = 0.0
) -> np.ndarray:
    """Units [example, unit] that know each example's kind (word or token) and nothing else.

    A standard normal value per kind; ``noise`` is the share of the variance that lies within.
    """
    codes, names = pd.factorize(np.array(kinds))
    between = rng.normal(size=(len(names), n_units))[codes]
    within = rng.normal(size=between.shape)
    return np.sqrt(1 - noise) * between + np.sqrt(noise) * within
