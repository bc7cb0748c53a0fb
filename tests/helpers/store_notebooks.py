"""Run notebooks and store them in examples/ as small as they can be read.

``PYTHONPATH=tests python -m helpers.store_notebooks examples/01*.ipynb ...``; without running them,
``--only-shrink``. Figures are stored with few colours, and a view as a picture of itself: its page
holds 1.3 MB of JavaScript, and where notebooks are read without being run nothing draws it.
"""

import base64
import html
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from helpers import run_notebooks
from PIL import Image, ImageChops

#: Enough for lines, areas and smooth letters.
COLOURS = 32
PAGE = re.compile('<iframe srcdoc="([^"]*)"')


def smaller(picture: bytes) -> bytes:
    """Store a PNG with few colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    few = image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, "png", optimize=True)
    return out.getvalue()


def photograph(page: str) -> bytes:
    """Show a page in Chromium, and cut off what is empty below it."""
    with tempfile.TemporaryDirectory() as folder:
        source, shot = Path(folder) / "view.html", Path(folder) / "view.png"
        source.write_text(page, encoding="utf-8")
        browser = shutil.which("chromium") or "chromium"
        options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=860,900"
        options += " --force-device-scale-factor=1.5 --virtual-time-budget=5000"
        command = [browser, *options.split(), f"--screenshot={shot}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        image = Image.open(shot).convert("RGB")
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    out = io.BytesIO()
    image.crop((0, 0, image.width, (box[3] if box else image.height) + 12)).save(out, "png")
    return out.getvalue()


def shrink(notebook: nbformat.NotebookNode) -> None:
    """Replace views by pictures, and pictures by smaller ones; leave out what libraries warn of."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            view = PAGE.search(data.get("text/html", ""))
            if view:
                del data["text/html"]
                picture = photograph(html.unescape(view[1]))
                data["image/png"] = base64.b64encode(picture).decode()
            if "image/png" in data:
                picture = base64.b64decode(data["image/png"])
                small = smaller(picture)
                if len(small) < len(picture):
                    data["image/png"] = base64.b64encode(small).decode()
                output.get("metadata", {}).clear()


def main(*arguments: str) -> None:
    paths = [Path(argument) for argument in arguments if not argument.startswith("--")]
    with tempfile.TemporaryDirectory() as folder:
        if "--only-shrink" not in arguments:
            run_notebooks.main(folder, *map(str, paths))
        for path in paths:
            ran = Path(folder) / path.name
            notebook = nbformat.read(ran if ran.exists() else path, as_version=4)
            shrink(notebook)
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
