"""The README's examples and names are true."""

import doctest
import re
from pathlib import Path

import tl_negation as tln

README = Path(__file__).parents[2] / "README.md"


def test_the_value_a_reader_can_check():
    failures, tried = doctest.testfile(str(README), module_relative=False)
    assert tried >= 3
    assert failures == 0


def test_every_name_of_the_package_that_the_readme_uses_exists():
    names = set(re.findall(r"\btln\.(\w+)", README.read_text(encoding="utf-8")))
    assert {"scan", "probe", "report", "load_model"} <= names
    assert [name for name in sorted(names) if not hasattr(tln, name)] == []


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_all_is_what_the_package_offers():
    assert sorted(tln.__all__) == sorted(set(tln.__all__))
    assert [name for name in tln.__all__ if not hasattr(tln, name)] == []
