"""Random damage to the files of a directory: what disks, transfers and editors do to them."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

#: Takes a file and a source of chance, and says whether it could do its damage.
Damage = Callable[[Path, random.Random], bool]


def flip(path: Path, rng: random.Random) -> bool:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return True


def cut(path: Path, rng: random.Random) -> bool:
    """Leave out the end."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])
    return True


def insert(path: Path, rng: random.Random) -> bool:
    """Put in a few bytes."""
    data = path.read_bytes()
    place = rng.randrange(len(data) + 1)
    path.write_bytes(data[:place] + rng.randbytes(rng.randrange(1, 40)) + data[place:])
    return True


def leave_out(path: Path, rng: random.Random) -> bool:
    """Take out a few bytes."""
    data = path.read_bytes()
    place = rng.randrange(len(data))
    path.write_bytes(data[:place] + data[place + rng.randrange(1, 40) :])
    return True


def blank(path: Path, rng: random.Random) -> bool:
    """Write zeros over a block, as a lost page leaves."""
    data = bytearray(path.read_bytes())
    place, n = rng.randrange(len(data)), rng.randrange(1, 512)
    data[place : place + n] = bytes(len(data[place : place + n]))
    path.write_bytes(data)
    return True


def swap(path: Path, rng: random.Random) -> bool:
    """Exchange two blocks of one length."""
    data = path.read_bytes()
    n = rng.randrange(1, max(2, len(data) // 3))
    a, b = rng.randrange(n), rng.randrange(n, len(data) - n + 1)
    path.write_bytes(data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :])
    return True


def delete(path: Path, rng: random.Random) -> bool:
    path.unlink()
    return True


def change_json(path: Path, rng: random.Random) -> bool:
    """Remove an entry, or give it another value: what an editor saves is JSON still."""
    if path.suffix != ".json":
        return False
    content = json.loads(path.read_text("utf-8"))
    *way, last = rng.choice(list(_ways(content)))
    inside = content
    for key in way:
        inside = inside[key]
    if rng.random() < 0.4:
        del inside[last]
    else:
        inside[last] = rng.choice([None, 0, -1, 3, 10**30, 0.5, "", "x", [], {}, [1], True])
    path.write_text(json.dumps(content), "utf-8")
    return True


def _ways(content: Any) -> Any:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (key,)
        if isinstance(value, (dict, list)) and value:
            yield from ((key, *rest) for rest in _ways(value))


def change_table(path: Path, rng: random.Random) -> bool:
    """Shuffle the rows of a table, repeat one, leave one out, or move values to other rows."""
    if path.suffix != ".parquet":
        return False
    table = pd.read_parquet(path)
    seed = rng.randrange(10**6)
    name = rng.choice(list(table))
    changed = rng.choice(
        [
            lambda: table.sample(frac=1, random_state=seed),
            lambda: pd.concat([table, table.iloc[:1]]),
            lambda: table.iloc[1:],
            lambda: table.assign(**{name: table[name].shift(1, fill_value=table[name].iloc[-1])}),
            lambda: table.drop(columns=name),
        ]
    )()
    changed.to_parquet(path, index=False)
    return True


DAMAGES = (flip, cut, insert, leave_out, blank, swap, delete, change_json, change_table)


def damaged_copy(whole: Path, copy: Path, rng: random.Random) -> str:
    """Copy a directory and damage one of its files; say which, and how."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    while True:
        path = rng.choice(sorted(path for path in copy.rglob("*") if path.is_file()))
        before, damage = path.read_bytes(), rng.choice(DAMAGES)
        if damage(path, rng) and not (path.exists() and path.read_bytes() == before):
            return f"{damage.__name__} {path.relative_to(copy).as_posix()}"
