"""Every site has a look of its own in the figures, and the three kinds have curves of theirs."""

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from helpers import tiny_models

from tl_negation import plots
from tl_negation.activations.activations import Activations
from tl_negation.models.sites import SITES, Site
from tl_negation.plots import style
from tl_negation.probing.probe import probe
from tl_negation.probing.profiles import profile

KINDS = [("q", "attn"), ("rot_q", "attn"), ("z", "attn"), ("mlp_post", "mlp"), ("mlp_out", "resid")]
KINDS += [("resid_mid", "resid"), ("resid_post", "resid")]


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_looks_differ_without_colour_and_show_on_white():
    looks = {site: style.site_style(site, [site]) for site in SITES}
    assert all(SITES[site].colour for site in looks)
    markers = [marker for _, marker, _ in looks.values()]
    assert len(set(markers)) == len(markers)
    for colour, _, _ in looks.values():
        # WCAG 2.2, 1.4.11: 3:1 for graphics.
        assert 1.05 / (luminance(mpl.colors.to_rgb(colour)) + 0.05) >= 3


def test_a_site_added_from_outside_has_its_label_and_a_colour(monkeypatch):
    """Without a colour in its record it takes a spare one; without a label, its name."""
    mine = replace(SITES["mlp_post"], label="my gate", colour=None)
    monkeypatch.setitem(SITES, "mine", mine)
    sites = (Site("q", "", "attn", 2, 4), Site("mine", "", "mlp", 1, 5))
    values = torch.randn(3, 40, 13, generator=torch.Generator().manual_seed(0))
    acts = Activations(values, sites, (0, 1, 4), tiny_models.contexts(40), {"name": "random"})
    result = probe(acts, progress=False)
    assert plots.site_style("mine", ["q", "mine"]) == style.SPARE[0]
    lines = {line.get_label(): line for line in plots.laminar(result, y="accuracy").get_lines()}
    assert lines["my gate"].get_color() == style.SPARE[0][0]
    assert lines["my gate"].get_marker() != lines["q"].get_marker()
    for draw in (plots.effects, lambda given: plots.volcano(given, 1)):
        texts = [text.get_text() for text in draw(result).get_legend().get_texts()]
        assert [text.split(" (")[0] for text in texts[:2]] == ["q", "my gate"]
    monkeypatch.setitem(SITES, "mine", replace(mine, label="", colour="#123456", marker="1"))
    assert plots.site_style("mine", ["mine"]) == ("#123456", "1", "--")
    for table in (profile(result), profile(result, by="module")):
        assert plots.laminar(table, y="accuracy").get_lines()[1].get_label() == "mine"
    plt.close("all")


def test_attention_mlp_and_residual_stream_have_curves_of_their_own():
    sites = tuple(Site(name, "", module, 1, 3 + i) for i, (name, module) in enumerate(KINDS))
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 40, sum(site.width for site in sites), generator=generator)
    acts = Activations(values, sites, (0, 1, 4), tiny_models.contexts(40), {"name": "random"})
    result = probe(acts, progress=False)
    table = profile(result, by="module")
    modules = ["q+rot_q+z", "mlp_post", "mlp_out+resid_mid+resid_post"]
    assert table["site"].unique().tolist() == modules
    assert table["units"].tolist()[:3] == [3 + 4 + 5, 6, 7 + 8 + 9]
    drawn = plots.laminar(profile(result), y="accuracy").get_lines()
    assert {name for name, _ in KINDS} <= {line.get_label() for line in drawn}
    plt.close("all")
