"""How long words take to be found: per megabyte, for texts of one, two and four sizes.

Each kind of text is one that was slow, or that an expression could be slow on. Where time grows
with the length alone, the last column is near 1.

    python tests/benchmarks/bench_words.py --json words.json
"""

import argparse
import time
from pathlib import Path
from typing import Any

import _common

from tl_negation import NEGATION, Contrast

STARS = Contrast("stars", {"a": ("*x*",), "b": ("no",)})
#: What is repeated, and what is looked for.
TEXTS = {
    "prose": ("He could not see it, and they can't know what may come of all this. ", NEGATION),
    "a hit in every word": ("can not ", NEGATION),
    "one word without end": ("x", NEGATION),
    "stars in long words": ("x" * 50 + " ", STARS),
    "stars in one word without end": ("x", STARS),
    "apostrophes of every kind": (
        "can\u00b4t can&#39;t can\u00e2\u20ac\u2122t nor\u00admal ",
        NEGATION,
    ),
    "a hyphen at every line's end": ("can-\ndle nor-\nmal ", NEGATION),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_250_000, help="characters of the smallest")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    facts = _common.machine()
    _common.show_machine(facts)
    rows: list[dict[str, Any]] = []
    for name, (part, contrast) in TEXTS.items():
        for times in (1, 2, 4):
            text = (part * (times * args.size // len(part) + 1))[: times * args.size]
            begun = time.process_time()
            hits = len(contrast.find(text))
            seconds = time.process_time() - begun
            rows.append({"text": name, "characters": len(text), "hits": hits, "s": seconds})
    table = []
    for name in TEXTS:
        small, _, large = (row for row in rows if row["text"] == name)
        growth = (large["s"] / large["characters"]) / (small["s"] / small["characters"])
        per_mb = 1e6 * large["s"] / large["characters"]
        table.append(
            (name, f"{large['hits']:,}", f"{large['s']:.1f}", f"{per_mb:.2f}", f"{growth:.2f}")
        )
    _common.show_table(
        f"words found in {4 * args.size / 1e6:g} MB, processor time",
        ("", "hits", "s", "s per MB", "per MB against a quarter of it"),
        table,
    )
    _common.write_json(args.json, {"machine": facts, "rows": rows})


if __name__ == "__main__":
    main()
