"""Header and licence of Project Gutenberg's files, in the forms that thirty years of them have."""

import pytest

from tl_negation.corpus.boilerplate import works

LINES = 400
LINE = "It was a story of some length, told by many a one.\n"
BOOK = LINE * LINES
LICENCE = "Section 1. General Terms of Use of this story. " * 20 + "\n"
HEADER = "The Project Gutenberg EBook of A Story\n\n"
START = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n"
END = "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n"
SMALL_PRINT = "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nlegal story\n"


def lines_kept(raw):
    """Lines of the book in each work, and nothing else."""
    kept = [raw[first:last].replace("\r", "\n") for first, last in works(raw)]
    assert all(not text.replace(LINE, "").strip() for text in kept), [t[:80] for t in kept]
    return [text.count(LINE) for text in kept]


@pytest.mark.parametrize(
    "start",
    [
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
        " *** START OF THIS PROJECT GUTENBERG EBOOK",
        "***START OF THE PROJECT GUTENBERG EBOOK X***",
        "**** START OF THE PROJECT GUTENBERG X ****",
        "* * * START OF THE PROJECT GUTENBERG X * * *",
        "*** START OF PROJECT GUTENBERG X ***",
        "*** BEGINNING OF THE PROJECT GUTENBERG X ***",
        "*** START OF THE PROJECT GUTENBERG EBOOK A LONG\nTITLE ON TWO LINES ***",
        "*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK X ***",
        "*** START OF THIS COPYRIGHTED PROJECT GUTENBERG EBOOK, X ***",
    ],
)
def test_every_form_of_the_start(start):
    assert lines_kept(f"{HEADER}A story by somebody\n{start}\n\n{BOOK}{END}{LICENCE}") == [LINES]


@pytest.mark.parametrize(
    "end",
    [
        END,
        "        ***END OF THE PROJECT GUTENBERG EBOOK X***\n",
        "*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n",
        "*** END OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK X ***\n",
        "[End of the Project Gutenberg EBook of X]\n",
        "The End of the Project Gutenberg EBook\n",
        "End of the Etext of Project Gutenberg's X\n",
        "End of\nThe Project Gutenberg\n",
        "End of Project Gutenberg's X, by Y\n",
        "This is the End of the Project Gutenberg Ebook\n",
        "Ende des Projekt Gutenberg\n",
        "Ende von Projekt Gutenberg Etext\n",
        "Ende dieses Projekt Gutenberg Etextes\n",
        "*** FIN DU PROJECT GUTENBERG X\n",
        "Fin de ce Project Gutenberg\n",
    ],
)
def test_every_form_of_the_end(end):
    assert lines_kept(f"{HEADER}{START}{BOOK}{end}{LICENCE}") == [LINES]


@pytest.mark.parametrize(
    "end",
    [
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n",
        "[*END*THE SMALL PRINT!\n",
        "END*THE SMALL PRINT! FOR PUBLIC\n",
        "*END*THE SMALL PRINT FOR PUBLIC\n",
        "***END OF THE SMALL PRINT***\n",
        "*END THE SMALL PRINT! FOR\n",
    ],
)
def test_every_form_of_the_small_print(end):
    after = f"End of Project Gutenberg's X\n{LICENCE}"
    assert lines_kept(f"{HEADER}{SMALL_PRINT}{end}{BOOK}{after}") == [LINES]
    assert lines_kept(f"{BOOK}{SMALL_PRINT}{end}") == [LINES]


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ((HEADER, START, BOOK, "START: FULL LICENSE\n", LICENCE) * 2, [LINES] * 2),
        ((HEADER, START, BOOK, END, LICENCE) * 3, [LINES] * 3),
        ((START, BOOK, START, BOOK, END, LICENCE), [LINES] * 2),
        ((HEADER, START, BOOK, END, LICENCE, HEADER, START, BOOK * 3), [LINES, 3 * LINES]),
        ((BOOK * 3, END, LICENCE, HEADER, START, BOOK, END, LICENCE), [3 * LINES, LINES]),
        ((START, BOOK, END, START, BOOK, START, BOOK, END, LICENCE), [LINES] * 3),
    ],
    ids=[
        "ended by the licence", "three", "the first without an end", "the second broke off",
        "the first without a start", "the one in the middle without an end",
    ],
)  # fmt: skip
def test_several_books_in_a_file_are_all_kept(parts, kept):
    assert lines_kept("".join(parts)) == kept


def test_the_lone_carriage_return_of_old_files():
    raw = f"{HEADER}{START}{BOOK}{END}{LICENCE}".replace("\n", "\r")
    assert lines_kept(raw) == [LINES]


def test_prose_about_the_project_is_no_marker():
    prose = "he had come to the\nend of the Project Gutenberg story, and went.\n"
    raw = f"{START}{BOOK}{prose}{BOOK}{END}"
    [(first, last)] = works(raw)
    assert raw[first:last].count(LINE) == 2 * LINES
    assert prose in raw[first:last]


def test_a_text_without_markers_is_whole():
    assert works(BOOK) == ((0, len(BOOK)),)
