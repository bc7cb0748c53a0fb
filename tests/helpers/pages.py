"""Pages in a headless browser, and texts that try to break them."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from helpers.child_process import HANGS

from tl_negation import views

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=document.title='broken'>",
    "&lt;b&gt; & <!--",
    "\u2028\u2029 ']};alert(1)//",
    "<" + "script>alert(2)</" + "script>\r\n",
)


def dump_dom(page, tmp_path):
    """The page's DOM after its scripts ran, and what they wrote to the console."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    options += " --disable-background-networking --disable-component-update"
    options += " --enable-logging=stderr --virtual-time-budget=5000 --dump-dom"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser, *options.split(), profile, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def add_script(path, code):
    """Let a page of ours run this script too, at its end: its policy must know it."""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    page = path.read_text("utf-8").replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    page = page.replace("</body>", f"<script>{code}</script></body>")
    path.write_text(page, "utf-8")


def drawn(dom):
    parser = _Texts()
    parser.feed(dom)
    rows = [row.replace(views.WORD_JOINER, "").replace("\xa0", " ") for row in parser.rows]
    return rows, set(parser.elements)


def props(view):
    """What each call of circuitsvis is given."""
    calls = re.findall(r"CircuitsVis\.ColoredTokens, (.*)\);$", view.script, flags=re.MULTILINE)
    return [json.loads(call) for call in calls]


class _Texts(HTMLParser):
    """Texts and elements under the elements of class colored-tokens."""

    def __init__(self):
        super().__init__()
        self.rows, self.elements, self.depth = [], [], 0

    def handle_starttag(self, tag, attrs):
        if self.depth or dict(attrs).get("class") == "colored-tokens":
            if not self.depth:
                self.rows.append("")
            self.depth += tag not in ("img", "br")
            self.elements.append(tag)

    def handle_endtag(self, _):
        self.depth -= bool(self.depth)

    def handle_data(self, data):
        if self.depth:
            self.rows[-1] += data
