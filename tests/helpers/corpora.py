"""Small tokenizers of the two kinds, and texts for them, built where they are used."""

import functools

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

STORY = (
    "As we all know, they could not wait, and we can go. I don't know; you can't stay. He should "
    "never ask, nor may she. It might rain on May 5, it cannot snow. Certainly we always agree to "
    "allow this. "
)
#: Four documents; the second is shorter than a window, the last has no word of the contrast.
DOCUMENTS = (
    "He can not see it, and you may never know. I should always go home, but I cannot stay here.",
    "not can",
    "They don't agree that she could stay; we didn't say it, nor might they. You shall see it all.",
    "And home they go, and home you go, but we stay and see it.",
)


def contents(corpus):
    """Text of every document of a corpus."""
    return [document.content for document in corpus]


@functools.cache
def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's kind: a token carries the space before it, "don't" is " don" + "'t"."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=["<s>"],
    )
    tokenizer.train_from_iterator([STORY.replace(" ", "  "), STORY] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


@functools.cache
def metaspace() -> PreTrainedTokenizerFast:
    """SentencePiece's kind: "▁" for a space, prepended to a text and dropped on decoding."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([STORY] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")


def by_word(vocabulary: str, split: str = r"\s+") -> PreTrainedTokenizerFast:
    """A token per piece between what `split` matches; words outside the vocabulary are unknown."""
    words = ["[UNK]", *vocabulary.split("|")]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(split), "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
