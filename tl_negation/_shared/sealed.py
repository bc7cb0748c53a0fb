"""Files that show damage: SHA-256 of each, and of the JSON file that lists them.

The JSON file's own hash is its last entry. It is that of the file's bytes with zeros in its place,
so that a change of any byte shows.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The entry that holds the hash of the JSON file itself.
SEAL = "sha256"
#: The entry with the SHA-256 of every other file by its name.
FILES = "files"
#: What version 0.1.0 wrote beside the tables, without recording it.
EARLIER = (
    "units.parquet", "contexts.parquet", "display.parquet", "profile.csv", "trend.csv",
    "overlap.csv", "signs.csv", "ranks.csv", "replication.png", "replication.svg", "report.html",
    "figures/*.png", "figures/*.svg",
)  # fmt: skip
_UNKNOWN = "0" * 64


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        return digest.hexdigest()


def sealed(content: Mapping[str, Any]) -> str:
    """Write JSON whose last entry is the hash of all of it."""
    unknown = {**content, SEAL: _UNKNOWN}
    text = json.dumps(unknown, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    before, _, after = text.rpartition(_UNKNOWN)
    return f"{before}{hashlib.sha256(text.encode()).hexdigest()}{after}"


def read_sealed(path: Path) -> tuple[dict[str, Any], bool]:
    """Read a JSON file that holds an object, and say whether it was sealed.

    Raises
    ------
    ValueError
        It is no such file, or its bytes are not those that were sealed; the message says which.
    """
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("its entries are nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not an object")
    seal = content.pop(SEAL, None)
    if seal is None:
        return content, False
    before, found, after = data.rpartition(str(seal).encode())
    if not found or hashlib.sha256(before + _UNKNOWN.encode() + after).hexdigest() != seal:
        raise ValueError("its SHA-256 is not that of its content")
    return content, True


def seal_directory(folder: Path, marker: str) -> None:
    """Seal the JSON file that marks a directory, with the SHA-256 of every other file in it."""
    path = folder / marker
    content, _ = read_sealed(path)
    content[FILES] = {
        file.relative_to(folder).as_posix(): file_sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != path
    }
    path.write_text(sealed(content), encoding="utf-8")


def jsonable(value: Any) -> Any:
    """Copy what JSON is to hold.

    NaN and infinity, which JSON does not know, become null; what UTF-8 cannot hold, such as a file
    name that is no text, is written with backslashes.
    """
    if isinstance(value, Mapping):
        return {jsonable(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


@contextmanager
def read_whole(path: Path, cure: str, what: str = "damaged") -> Iterator[None]:
    """Say of whatever goes wrong in reading files that they are damaged, and what to do.

    A file may hold anything, so any error may come of it. What is not there, may not be read or
    does not fit into memory is no damage.

    Raises
    ------
    ValueError
        Names the file, the error and the cure.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError, DamagedError):
        raise
    except Exception as error:
        raise damaged(path, _in_words(error), cure, what) from error


class DamagedError(ValueError):
    """A file that does not hold what was written into it."""


def damaged(path: Path, why: str, cure: str, what: str = "damaged") -> DamagedError:
    """Write the error for a file that does not hold what was written into it."""
    return DamagedError(f"{path} is {what} ({why}); {cure}")


def _in_words(error: Exception) -> str:
    says = " ".join(str(error).split())
    return (says[:300] if isinstance(error, (ValueError, OSError)) else "") or (
        f"{type(error).__name__}: {says[:300]}"
    )


def files_of(content: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files that a run wrote; without them where it did not record any."""
    recorded = content.get(FILES)
    if isinstance(recorded, dict):
        return {
            name: str(digest)
            for name, digest in recorded.items()
            if ".." not in Path(name).parts and not Path(name).is_absolute()
        }
    names = [*EARLIER, *(f"{name}.csv" for name in content.get("tables", ()) if is_plain(name))]
    found = (file for pattern in names for file in folder.glob(pattern))
    return {file.relative_to(folder).as_posix(): "" for file in found}


def is_plain(name: Any) -> bool:
    """Whether a name may become that of a file in the same folder."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_]{1,60}", name) is not None


def first_changed(folder: Path, files: Mapping[str, str]) -> str | None:
    """Name the first of these files whose bytes are not those that were recorded, if there is one.

    Files that are missing are passed over: whoever needs one says so.
    """
    for name, digests in files.items():
        path = folder / name
        if path.is_file() and file_sha256(path) not in digests.split():
            return name
    return None
