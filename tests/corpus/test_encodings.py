"""What is a table or a document by its content, and what only looks like one."""

import pytest

from tl_negation.corpus.encodings import check_is_prose

TABLES = (
    'id,text,label\n0,"He can not go, 0",1\n1,"x",0\n2,"y, z",1\n',
    "id;text;label\n1;he can;0\n2;not he;1\n",
    "id\ttext\n1\tHe can go.\n2\tNot he.\n",
    '{"text": "He can not."}\n',
    '{"a": 1},\n{"a": 2}\n',
    '[{\n"a": 1}]',
    '["a",\n"b"]',
    '[["a", 1],\n["b", 2]]',
)
DOCUMENTS = (
    "<!doctype html>", "<html>", "<body>can", "<p>can", "<!DOCTYPE TEI.2>", "<?xml version='1.0'?>",
    "{\\rtf1 can", "%!PS-Adobe", "%PDF-1.7", "BZh91AY",
)  # fmt: skip
PROSE = (
    "[1]\nHe could not.",
    "[2024] It can not be.",
    "[]\nx",
    "{}\nx",
    "[\nIllustration: a cat]\nHe can.",
    "[Illustration: a cat]\nHe can.",
    "[" * 5000,
    "Yes, no, maybe\nOne, two, three\nFour, five, six\n",
    'He said, "no", and went.\nShe said, "yes", and stayed.\nThey, we, and you.\n',
    '"He can," she said,\n"not," he said,\n"go," they said,\n',
    "apples,pears\nwe can, not\nfine\n",
    "A\tb c\nd e\n",
    "<not a tag",
    "CHAPTER I\n\nHe can not.",
)


@pytest.mark.parametrize("text", TABLES)
def test_a_table_by_its_content(text):
    with pytest.raises(ValueError, match="is a table, not prose; name the column"):
        check_is_prose("a.txt", text)


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_document_by_its_content(text):
    with pytest.raises(ValueError, match="is not plain text; save the text that it holds"):
        check_is_prose("a.txt", text)


@pytest.mark.parametrize("text", PROSE)
def test_prose_that_looks_like_a_table_is_prose(text):
    check_is_prose("a.txt", text)
