"""Does the share of units tuned to negation over words replicate? Is it absent where it must be?

    python tests/benchmarks/depth_curve.py TEXT ... [--every 3]

For each text (a path or a name that :func:`tl_negation.load_text` knows), the demo model and its
untrained twin: negation, and a control of arbitrary words of the same frequencies. Prints how many
groups of units (a layer's site) pass over words, and what share of the units is tuned at least.
``--every N`` takes each N-th layer.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import tl_negation as tln

SITES = ("q", "k", "v", "mlp_pre")


def row(model: tln.TransformerLensModel, contexts: tln.Contexts, layers: list[int]) -> dict:
    """Test one contrast in one model."""
    acts = tln.collect(model, contexts, sites=SITES, layers=layers, progress=False)
    found = tln.word_test(tln.probe(acts, progress=False), progress=False)
    groups, about = found.tables["groups"], found.provenance["word_test"]
    words = {name: len(types) for name, types in about["word_types"].items()}
    later = groups[groups["layer"] > 0]
    first = groups[groups["layer"] == 0]
    return {
        "contexts": len(contexts),
        "words": " + ".join(map(str, words.values())),
        "ICC": round(about["icc"], 2),
        "groups": len(groups),
        "p <= .05": int((groups["p"] <= 0.05).sum()),
        "max-T": int((groups["p_maxt"] <= 0.05).sum()),
        "layer 0, share": share(first, "share"),
        "later, share": share(later, "share"),
        "expected": share(groups, "share_expected"),
        "later, at least (median group)": f"{later['at_least'].median():.1%}",
        "all units, p": round(about["all_units"]["p"], 4),
        "all units, at least": f"{about['all_units']['at_least']:.1%}",
        "units (max-T)": int(found.columns["significant_words"].sum()),
        "shift for .8": about["shift_family"] and round(about["shift_family"], 1),
    }


def share(groups: pd.DataFrame, column: str) -> str:
    """Mean over units."""
    return f"{np.average(groups[column], weights=groups['units']):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    model = tln.load_model("demo")
    twin = tln.untrained_twin(model, seed=0)
    layers = list(range(0, model.cfg.n_layers, options.every))
    rows = []
    for name in options.texts:
        text = tln.load_text(name)
        contexts = tln.find_contexts(text, model.tokenizer)
        if len(contexts) > 600:
            contexts = contexts.sample(200, seed=0)
        other = tln.control(contexts, text, model.tokenizer, seed=0)
        for about, which, of in (
            ("negation", model, contexts),
            ("control", model, other),
            ("negation, untrained twin", twin, contexts),
        ):
            rows.append({"text": Path(name).stem, "contrast": about, **row(which, of, layers)})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).T
    print(
        "\n".join(
            f"| {' | '.join(map(str, [name, *cells]))} |" for name, *cells in table.itertuples()
        )
    )


if __name__ == "__main__":
    main()
