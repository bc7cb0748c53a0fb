"""The same words are found in the same text, whatever the tokenizer.

The tokenizers are built here with the ``tokenizers`` library in the manner of the families: how
spaces, digits, bytes and apostrophes are treated is theirs, the vocabularies are not.
"""

import json
import re
from functools import cache

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tl_negation.corpus.contrast import NEGATION
from tl_negation.corpus.targets import find_contexts
from tl_negation.corpus.text import Text

TEXT = (
    "At 10 they can't say 2,024 words; she cannot go, and we can.\r\n"
    "It\u2019s not so: he don\u2019t know (never!), \u2014 na\u00efve \u65e5\u672c\u8a9e not, "
    "\U0001f642 not.\r\n\r\n"
    "\u201cMay I?\u201d  No\u00ebl may;you should_not\tnor\u2026 always ...never,we could\n\n"
    "caf\u00e9 might not stay, e\u0301 can see, WON'T, won\u2019t. Certainly I agree 3 can"
)
#: What the vocabularies are learnt from.
SEEN = TEXT.replace("\u65e5\u672c\u8a9e", "").replace("\U0001f642", "")  # left to the bytes
# SentencePiece does not learn a piece across a change of script: no "may;you".
APART = re.sub(r"(\W|_)", r" \1 ", SEEN)
#: What is found, as written, and what is left out.
SURFACES = [
    *("can't", "cannot", "can", "not", "don\u2019t", "never", "not", "not", "May", "may", "nor"),
    *("always", "never", "could", "not", "can", "WON'T", "won\u2019t", "Certainly", "agree", "can"),
]
DROPPED = {"affirmation followed by not": {"negation": 0, "affirmation": 1}}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(*, pattern=GPT2, add_prefix_space=False, first=()):
    """Byte-level BPE: a text is split by a pattern, and every byte is a letter."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    last = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, split, last])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([SEEN] * 3, trainer)
    return tokenizer


def neox():
    """GPT-NeoX: as GPT-2, but composed first, and runs of spaces are tokens of their own."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in (2, 3, 4)])
    return tokenizer


def sentence_piece(*, kind="bpe", prepend="first", normalizer=None, digits=False):
    """SentencePiece: spaces are letters; what is not in the vocabulary falls back to bytes."""
    special = ["<unk>", "<s>", *BYTES]
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=700, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    if normalizer:
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    if digits:
        individually = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([individually, tokenizer.pre_tokenizer])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.train_from_iterator([APART] * 3, trainer)
    if kind == "unigram":  # the trainer does not set it
        whole = json.loads(tokenizer.to_str())
        whole["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(whole))
    return tokenizer


def llama2():
    """Llama's tokenizer.json of old: a normalizer puts the space's sign, also in front."""
    return normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])


TOKENIZERS = {
    "GPT-2": byte_level,
    "GPT-2 with a prefix space (OPT, RoBERTa)": lambda: byte_level(add_prefix_space=True),
    "GPT-NeoX": neox,
    "SmolLM2, digits apart": lambda: byte_level(first=[pre_tokenizers.Digits(True)]),
    "Llama 3, Qwen": lambda: byte_level(pattern=LLAMA3),
    "Llama SentencePiece, metaspace": sentence_piece,
    "Llama SentencePiece, normalised": lambda: sentence_piece(normalizer=llama2()),
    "metaspace before every piece": lambda: sentence_piece(prepend="always"),
    "Gemma": lambda: sentence_piece(normalizer=normalizers.Replace(" ", "\u2581"), digits=True),
    "metaspace, nothing in front": lambda: sentence_piece(prepend="never"),
    "unigram with bytes": lambda: sentence_piece(kind="unigram"),
}
# T5's and XLNet's are unigram models too; those models are not causal.
WITH = pytest.mark.parametrize("name", TOKENIZERS)


@cache
def tokenizer(name):
    return PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZERS[name](), bos_token="<s>", unk_token="<unk>"
    )


def words(contexts):
    columns = ["surface", "word", "label", "start", "end"]
    return contexts.examples[columns].to_numpy().tolist()


@WITH
def test_the_words_are_those_of_the_text(name):
    text = Text.from_string(TEXT)
    contexts = find_contexts(text, tokenizer(name), before=0, after=0)
    hits = [hit for hit in NEGATION.find(text.content) if hit.reason is None]
    assert [row[1:] for row in words(contexts)] == [
        [hit.word, hit.label, hit.start, hit.end] for hit in hits
    ]
    assert [row[0] for row in words(contexts)] == SURFACES
    assert contexts.source["dropped"] == DROPPED


@WITH
def test_the_target_holds_the_words_last_letter_and_nothing_of_another_word(name):
    text = Text.from_string(TEXT)
    contexts = find_contexts(text, tokenizer(name), before=2, after=0)
    assert contexts.examples["surface"].tolist() == SURFACES  # the first is behind two tokens
    encoded = tokenizer(name)(text.content, add_special_tokens=False, return_offsets_mapping=True)
    for row, tokens in zip(contexts.examples.itertuples(), contexts.tokens.tolist(), strict=True):
        assert tokens[contexts.before] == encoded["input_ids"][row.position]
        start, end = encoded["offset_mapping"][row.position]
        assert start < row.end <= end
        around = text.content[start : row.start] + text.content[row.end : end]
        assert not any(map(str.isalnum, around))


def test_the_tokenizers_differ():
    text = Text.from_string(TEXT).content
    split = {name: tuple(tokenizer(name).tokenize(text)) for name in TOKENIZERS}
    # Metaspace and the normalizer of old come to the same tokens, by other offsets.
    llamas = {split[name] for name in split if name.startswith(("Llama S", "metaspace before"))}
    assert len(llamas) == 1
    assert len(set(split.values())) == len(split) - 2
