"""The report: self-contained, true to the result, and not to be broken by any text."""

import html
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from helpers import synthetic, tiny_models
from helpers.few_figures import figures
from helpers.made_results import display, make_result
from helpers.pages import HOSTILE, add_script, drawn, dump_dom

from tl_negation import views
from tl_negation.inference.infer import infer
from tl_negation.probing.columns import COLUMNS, Column
from tl_negation.probing.profiles import profile
from tl_negation.report.page import report
from tl_negation.report.tables import UNITS_LEFT_OUT, page_table
from tl_negation.report.unit_rows import DRAWN

#: Figures of a result without inference over words.
PLAIN = [
    "laminar", "attention-and-mlp", "volcano-layer-2", "effects", "unit-layer-0", "unit-layer-2",
    "unit-layer-5", "heads-q", "heads-k", "units-by-head-q", "units-by-head-k",
]  # fmt: skip
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Elements, ids and texts of a page; refuses elements that do not nest."""

    def __init__(self, path):
        super().__init__()
        self.open, self.ids, self.tags, self.texts = [], Counter(), Counter(), []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.ids.update(value for name, value in attrs if name == "id")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def result():
    made = make_result()
    return replace(made, display=display(made))


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    with figures(every=True):
        return Page(report(result, tmp_path_factory.mktemp("report") / "new" / "report.html"))


class TestPage:
    def test_needs_nothing_from_anywhere(self, page):
        links = re.findall(r"""\b(?:src|href|action|poster)=["']([^"']*)""", page.source)
        assert links
        assert all(link.startswith(("#", "data:")) for link in links)
        assert "@import" not in page.source
        assert "default-src 'none'" in html.unescape(page.source)
        assert len(page.source.encode()) < 5_000_000

    def test_the_views_script_is_there_once(self, page):
        assert page.source.count(views.page_script()) == 1

    def test_landmarks_headings_and_ids(self, page):
        assert page.tags["main"] == page.tags["header"] == page.tags["nav"] == page.tags["h1"] == 1
        assert page.tags["h2"] == page.tags["section"] == 7
        assert [name for name, n in page.ids.items() if n > 1] == []
        for target in re.findall('href="#([^"]*)"', page.source):
            assert target in page.ids

    def test_figures_are_inline_and_described(self, page):
        assert page.tags["figure"] == len(PLAIN)
        found = re.findall(r'<svg role="img" aria-labelledby="fig-([\w-]*)-title', page.source)
        assert found == [*PLAIN, *(f"row-{number}" for number in range(DRAWN))]
        for label in re.findall('role="img" aria-labelledby="([^"]*)"', page.source):
            assert set(label.split()) <= set(page.ids)

    def test_closes_its_figures(self, result, tmp_path):
        before = plt.get_fignums()
        report(result, tmp_path / "report.html")
        assert plt.get_fignums() == before


class TestContent:
    def test_the_answer_has_the_numbers(self, result, page):
        passed = int(result.significant.sum())
        assert f"decodable from {passed} of 116 tested units ({passed / 116:.1%})" in page.text
        assert page.text.index("Over words: not tested") < page.text.index("By example (likelihood")
        rows = profile(result, by="module").query("site == 'q+k'")
        first, last = rows.iloc[0], rows.iloc[-1]
        shares, right = (
            f"{first[name]:.1%} in layer 0 and {last[name]:.1%} in layer 5"
            for name in ("share_significant", "accuracy")
        )
        assert f"Of the q+k units, {shares} pass this test." in page.text
        assert f"unit is right in {right}; guessing is right in 50.0%." in page.text
        assert "What follows may be no more than the word." in page.text

    def test_the_answer_over_words_has_the_numbers(self, result, tmp_path):
        significant = torch.zeros(3, 39, dtype=torch.bool)
        significant[1, :2] = True
        columns = {
            **result.columns,
            "significant_words": significant,
            "held_out_accuracy": torch.full((3, 39), 0.3125).double(),
        }
        test = {"labelings": 70, "exact": True, "family": "all", "alpha": 0.05, "word_types": {}}
        columns["words_p_maxt"] = torch.ones(3, 39).double()
        over = replace(result, columns=columns, provenance={**result.provenance, "word_test": test})
        seen = float(result.balanced_accuracy.nanmean())
        assert (
            "2 of 117 units are significant (1.71%); the smallest p is 1. On words left out of the "
            "fit the mean unit is right in 31.2%, against "
            f"{seen:.1%} on the words it was fitted to."
        ) in Page(report(over, tmp_path / "report.html")).text

    def test_a_quantised_model_is_called_so(self, result, tmp_path):
        model = {"name": "demo", "source": "some.gguf", "quantised": "Q4_1 GGUF, dequantised"}
        made = replace(result, provenance={**result.provenance, "model": model})
        text = Page(report(made, tmp_path / "report.html")).text
        assert "3 layers of demo (some.gguf, Q4_1 GGUF, dequantised), sites q, k, mlp_pre" in text

    def test_what_words_say_is_told_where_it_was_asked(self, result, page, tmp_path):
        assert "Word or category?" not in page.text
        columns = {**result.columns, "held_out_accuracy": torch.full((3, 39), 0.3125).double()}
        text = Page(report(replace(result, columns=columns), tmp_path / "report.html")).text
        assert "Word or category?" in text
        assert "31.2% (balanced" in text

    def test_the_caution_is_there(self, page):
        assert "Whether the model uses these units: no intervention was run." in page.text
        assert "negation is 4 words, 25% of it “not”" in page.text

    def test_the_audit(self, page):
        assert "not 5, never 5, cannot 5, n't 5".replace(" ", "") in page.text.replace(
            "\xa0", " "
        ).replace(" ", "")

    def test_units_are_those_of_top_with_the_columns_present(self, result, page):
        assert page.source.count("data-key") == 100 * len(
            {*result.top(1, full=True), "effect_per_sd"} - UNITS_LEFT_OUT
        )
        assert page.source.count(' extra"') == 101 * 4  # nine columns to begin with
        best = result.top(1).iloc[0]
        row = re.search(r'id="units".*?<tbody>\s*<tr>(.*?)</tr>', page.source, re.DOTALL).group(1)
        cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        assert cells[:4] == ["2", "k", "1", "3"]
        assert "separated" in cells
        assert f"{best['lr']:.4g}" in cells

    def test_no_head_is_numbered_where_a_site_has_none(self):
        table = page_table(pd.DataFrame({"site": ["q", "mlp_pre"], "head": [3, 0]}))
        assert [[cell.text for cell in row] for row in table.rows] == [
            ["q", "3"],
            ["mlp_pre", "none"],
        ]

    def test_a_later_column_is_in_the_tables_too(self, result, tmp_path):
        columns = {**result.columns, "held_out_accuracy": torch.full((3, 39), 0.3125)}
        path = report(replace(result, columns=columns), tmp_path / "report.html")
        source = Page(path).source
        assert '<button type="button">accuracy, unseen words</button>' in source
        assert source.count('data-key="0.3125">31.2%') == 100

    def test_a_column_added_from_outside_is_explained(self, result, tmp_path, monkeypatch):
        monkeypatch.setitem(COLUMNS, "mine", Column("what mine means"))
        columns = {**result.columns, "mine": torch.full((3, 39), 0.25)}
        source = Page(report(replace(result, columns=columns), tmp_path / "r.html")).source
        assert 'title="what mine means"><button type="button">mine</button>' in source

    def test_provenance_is_complete(self, result, tmp_path):
        provenance = {**result.provenance, "seconds": {"model": 1.25}, "seed": None}
        text = Page(report(replace(result, provenance=provenance), tmp_path / "r.html")).text
        for fact in ("model name: random", "correction: bonferroni", "seconds model: 1.25"):
            assert fact in text
        assert "seed none" in text

    def test_long_provenance_is_only_counted(self, result, tmp_path):
        long = {f"part {i}": "x" * 30 for i in range(5)}
        more = {"long": long, "list": list(range(41))}
        made = replace(result, provenance={**result.provenance, **more})
        text = Page(report(made, tmp_path / "r.html")).text
        assert f"long part 4 {'x' * 30}" in text
        assert "list 41 values, in run.json" in text

    def test_how_to_cite(self, page):
        assert "@software{tl_negation," in page.text

    def test_the_notebook_preset(self, result, page, tmp_path):
        text = Page(report(result, tmp_path / "report.html", preset="notebook")).text
        assert "profile preset notebook" in text
        assert "profile preset None" in page.text


class TestViews:
    def test_kept_activations_are_drawn(self, page):
        assert page.source.count("CircuitsVis.ColoredTokens") == 4
        assert "2 units, by token" in page.text
        assert page.ids.keys() > {re.search('id="(tln-[0-9a-f]*-layer)"', page.source).group(1)}

    @pytest.mark.parametrize("without", ["display", "tokens"])
    def test_none_kept_is_said_and_no_script_is_sent(self, result, tmp_path, without):
        kept = None if without == "display" else result.display.drop(columns="tokens")
        page = Page(report(replace(result, display=kept), tmp_path / "report.html"))
        assert "No activations over whole windows were kept" in page.text
        assert "CircuitsVis" not in page.source

    def test_a_model_collects_them(self, tmp_path):
        from tl_negation.activations.collect import collect
        from tl_negation.probing.probe import probe

        model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
        acts = collect(model, tiny_models.contexts(16), ("q", "mlp_pre"), progress=False)
        found = probe(acts, progress=False)
        page = Page(report(found, tmp_path / "report.html", model=model))
        heads = 3 * 2  # that look from the target of two contexts
        assert page.source.count("CircuitsVis.ColoredTokens") == 18 * 10 + heads
        assert page.source.count("CircuitsVis.AttentionPatterns") == 2

    @pytest.mark.all_figures
    def test_a_result_from_disk_has_no_units_by_word(self, result, tmp_path):
        page = Page(report(replace(result, activations=None), tmp_path / "report.html"))
        assert page.tags["figure"] == len(PLAIN) - 3

    @pytest.mark.all_figures
    def test_words_are_compared_where_they_were_tested(self, tmp_path):
        options = {"permutations": 200, "tasks": 2, "replicates": 2, "progress": False}
        page = Page(
            report(infer(synthetic.result(*synthetic.small()), **options), tmp_path / "report.html")
        )
        assert page.tags["figure"] == len(PLAIN) + 2
        # Two have one of their own for a phone; units of the table are drawn, too.
        assert page.tags["svg"] == page.tags["figure"] + 2 + DRAWN
        assert "Shuffling which word has which mean activation gives the grey band" in page.text
        assert "lexical null replicates: 2" in page.text
        assert "bands" not in page.text.split("Provenance")[-1]
        assert "null accuracy low" not in page.text


class TestTrouble:
    def test_refuses_what_is_no_result(self, tmp_path):
        with pytest.raises(TypeError, match="result must be of type ProbeResult; got str"):
            report("runs/demo", tmp_path / "report.html")

    def test_a_failure_leaves_the_old_file(self, result, tmp_path):
        path = tmp_path / "report.html"
        path.write_text("old")
        with pytest.raises(ValueError, match="preset"):
            report(result, path, preset="nonsense")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_result_without_any_valid_unit(self, result, tmp_path):
        columns = {
            name: torch.full_like(column, torch.nan if column.is_floating_point() else 0)
            for name, column in result.columns.items()
        }
        columns["status"] = torch.full_like(result.status, 3)
        page = Page(report(replace(result, columns=columns), tmp_path / "report.html"))
        assert "decodable from 0 of 0 tested units, each taken alone" in page.text
        assert "No q+k unit has a valid fit in these layers." in page.text
        assert "nan%" not in page.text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report about a corpus that tries to be a script, everywhere a text can stand."""
    made = make_result(21)
    contexts = made.contexts
    examples = contexts.examples.assign(passage=HOSTILE[0], surface=HOSTILE[0], token=HOSTILE[1])
    examples["word"] = examples["word"].replace({"not": HOSTILE[0], "can": HOSTILE[1]})
    source = {**contexts.source, "source": HOSTILE[0], "dropped": {HOSTILE[1]: {HOSTILE[0]: 1}}}
    contexts = replace(contexts, examples=examples, source=source)
    model = {"name": HOSTILE[0], "revision": HOSTILE[1]}
    made = replace(
        made,
        contexts=contexts,
        provenance={**made.provenance, "model": model},
        display=display(made, HOSTILE),
    )
    return report(made, tmp_path_factory.mktemp("hostile") / "report.html")


def test_hostile_text_is_escaped(hostile):
    page = Page(hostile)
    assert page.tags["script"] == 4
    assert page.tags["img"] == 0
    assert HOSTILE[0] in page.text


@pytest.mark.browser
def test_a_browser_shows_hostile_text_as_text(hostile, tmp_path):
    dom, console = dump_dom(hostile, tmp_path)
    rows, elements = drawn(dom)
    assert len(rows) == 2  # of the unit that is shown
    assert all(row.startswith("".join(HOSTILE[:2])) for row in rows)
    assert elements == {"div", "span"}
    assert "<title>broken</title>" not in dom
    assert console == []


@pytest.mark.browser
def test_in_a_browser_units_open_and_points_answer(result, tmp_path):
    path = report(result, tmp_path / "report.html")
    script = """
      const say = (name, text) => document.body.setAttribute("data-" + name, text);
      const opens = document.querySelectorAll("#units .open");
      const opened = () => document.querySelectorAll("#units .opened").length;
      opens[0].click(); opens[50].click(); say("two", opened());
      say("drawn", document.querySelectorAll("#units .opened svg").length);
      say("call", document.querySelector("#units .opened code").textContent);
      say("expanded", opens[0].getAttribute("aria-expanded"));
      opens[0].click(); say("one", opened());
      document.querySelector("#units th button").click(); say("none", opened());
      const shown = () => [...document.querySelectorAll("#units thead th")].filter(
        (head) => getComputedStyle(head).display !== "none").length;
      say("first", shown()); document.getElementById("all-columns").click(); say("all", shown());
      const mark = document.querySelector("figure use title").parentElement;
      mark.dispatchEvent(new Event("pointerover", { bubbles: true }));
      say("tip", document.getElementById("tip").textContent);
      const all = (what) => document.querySelectorAll(what).length;
      say("saves", all(".save") - all("figure") - all("table[id]"));
    """
    add_script(path, script)
    dom, console = dump_dom(path, tmp_path)
    assert console == []
    said = dict(re.findall(r'data-(two|drawn|call|expanded|one|none|first|all|tip|saves)="([^"]*)"',
                           dom.partition("<body")[2].partition(">")[0]))  # fmt: skip
    best = result.top(1).iloc[0]
    address = f"({best['layer']}, &quot;{best['site']}&quot;, {best['head']}, {best['index']})"
    assert said.pop("call") == f"tln.plots.unit(result, {address})"
    assert re.fullmatch(r"\w+: layer \d, [\d.e-]+", said.pop("tip"))
    assert said == {
        "two": "2", "drawn": "1", "expanded": "true", "one": "1", "none": "0",
        "first": "9", "all": "13", "saves": "0",
    }  # fmt: skip


@pytest.mark.browser
def test_in_a_browser_the_table_sorts_and_is_searched(result, tmp_path):
    path = report(result, tmp_path / "report.html")
    script = """
      const press = (n) => document.querySelectorAll("#units button")[n].click();
      const cells = (n) => [...document.querySelectorAll("#units tbody tr:not([hidden])")].map(
        (row) => row.cells[n].textContent).join(" ");
      const say = (name, text) => document.body.setAttribute("data-" + name, text);
      press(0); say("down", cells(0)); press(0); say("up", cells(0));
      say("sort", document.querySelector("#units th").getAttribute("aria-sort"));
      const heads = [...document.querySelectorAll("#units button")].map((one) => one.textContent);
      const beta = heads.indexOf("beta per sd");
      press(beta); say("nan", cells(beta).slice(-4));
      press(beta); say("nan-up", cells(beta).slice(-4));
      const field = document.getElementById("filter");
      field.value = "K 2"; field.dispatchEvent(new Event("input")); say("found", cells(1));
      say("said", document.getElementById("found").textContent);
      setTimeout(() => say("widths", [...document.querySelectorAll(".colored-tokens")]
        .map((one) => one.offsetWidth > 99 && one.offsetHeight > 9).join(" ")), 500);
    """
    add_script(path, script)
    dom, console = dump_dom(path, tmp_path)
    said = dict(re.findall(r'data-([a-z-]+)="([^"]*)"', dom.split("<body", 1)[1].split(">", 1)[0]))
    layers = [int(layer) for layer in said["down"].split()]
    assert layers == sorted(layers, reverse=True)
    assert said["up"].split() == said["down"].split()[::-1]
    assert len(set(layers)) > 1
    assert said["sort"] == "ascending"
    assert said["nan"] == said["nan-up"] == "none"
    assert said["widths"] == "true true"
    assert set(said["found"].split()) == {"k"}
    assert said["said"] == f"{len(said['found'].split())} units"
    assert console == []
