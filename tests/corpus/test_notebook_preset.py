"""The notebook's rule finds what the reference notebook's own loop finds."""

from helpers import corpora
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus.contrast import NEGATION
from tl_negation.corpus.targets import find_contexts
from tl_negation.corpus.text import Text

START = "*** START OF THIS PROJECT GUTENBERG EBOOK A STORY ***"
END = "*** END OF THIS PROJECT GUTENBERG EBOOK A STORY ***"


def find(text, before=2, after=1):
    tokenizer = corpora.byte_level()
    return find_contexts(
        text, tokenizer, before=before, after=after, preset="notebook", prepend_bos=False
    )


def oracle(text, tokenizer, before, after):
    """Apply the reference notebook's own loop over decoded tokens."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = [tokenizer.decode([token]) for token in ids]
    lists = [set(words) for words in NEGATION.lists.values()]
    found = []
    for i in range(before, len(tokens) - max(after, 1)):
        word, following = tokens[i].strip().lower(), tokens[i + 1]
        if following.startswith(" "):
            if word in lists[0] or "'t" in tokens[i]:
                found.append((i, 1))
            elif word in lists[1] and following.strip().lower() != "not":
                found.append((i, 0))
    return found


@given(
    st.lists(
        st.sampled_from(
            [" not", " can", " don't", " we", ".", "\r\n", " can't", "not", " May", "'t"]
        ),
        max_size=40,
    ),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_notebook_preset_is_the_notebooks_loop(pieces, before, after):
    text = " so we go on, we can go, we not go" + "".join(pieces) + ", on we go so we may go"
    contexts = find(text, before=before, after=after)
    found = list(contexts.examples[["position", "label"]].itertuples(index=False, name=None))
    assert found == oracle(text, corpora.byte_level(), before, after)


def test_notebook_preset_keeps_the_licence_and_its_line_ends():
    raw = f"We may go.\r\n{START}\r\nWe can be not so. On May 5\r\nI don't\r\n{END}\r\nI never go"
    contexts = find(Text.from_string(raw))
    assert contexts.examples["word"].tolist() == ["may", "can", "not", "may", "never"]
    assert contexts.examples["token"].tolist() == [" may", " can", " not", " May", " never"]
    assert contexts.examples["surface"].tolist() == ["may", "can", "not", "May", "never"]
    assert contexts.examples["in_boilerplate"].tolist() == [True, False, False, False, True]
    assert contexts.source["characters"] == len(raw)
    assert contexts.source["keep_boilerplate"] is True
    assert contexts.source["preset"] == "notebook"
    assert contexts.source["dropped"] == {
        "next token does not begin with a space": {"negation": 1, "affirmation": 0}
    }
    for row in contexts.examples.itertuples():
        assert raw[row.start : row.end] == row.surface


def test_notebook_preset_counts_contractions_as_one_type():
    contexts = find("We can go, we don't go, I can't go, we may not go")
    negations = contexts.examples[contexts.examples["label"] == 1]
    assert negations[["token", "word"]].to_numpy().tolist() == [
        ["'t", "n't"],
        ["'t", "n't"],
        [" not", "not"],
    ]
    dropped = contexts.source["dropped"]
    assert dropped["affirmation followed by not"] == {"negation": 0, "affirmation": 1}
