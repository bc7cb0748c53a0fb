"""Presets: one name that selects the rules of every stage.

Only the names are here. What a preset means to a stage is in that stage: how words are found in
``corpus/finding.py`` (``RULES``), what a profile counts, and by which test, in
``probing/profiles.py`` (``PRESET_TESTS``). A stage in which a preset has no entry goes by its own
default.
"""

from typing import Annotated, Any

from .checks import nearest, string

#: Name of a preset -> what it selects, for help texts. A new rule of finding adds itself here.
PRESETS: dict[str, str] = {"notebook": "the reference notebook's rules, licence text included"}


def known_preset(name: str, value: Any) -> None:
    """Raise unless the value is None or the name of a preset."""
    if value is None:
        return
    string(name, value)
    if value not in PRESETS:
        known = " or ".join(["None", *map(repr, PRESETS)])
        raise ValueError(f"{name} must be {known}; got {value!r}{nearest(value, PRESETS)}")


Preset = Annotated[str | None, known_preset]
