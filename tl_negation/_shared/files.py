"""Files and directories that are written whole or not at all: a temporary name, then a rename."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The file by which a run directory is recognised as ours before it is replaced.
MARKER = "run.json"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` if the body succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


@contextmanager
def whole_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory to write to, and rename it to ``path`` if the body succeeds.

    Raises
    ------
    FileExistsError
        ``path`` holds something that may not be replaced (see :func:`check_target`).
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        new.mkdir()
        yield new
        check_target(path, overwrite=overwrite)  # another run may have ended there since
        try:
            if path.exists():
                path.replace(old)
            new.replace(path)
        except (
            BaseException
        ):  # an interrupt, too: the earlier run must not be deleted with ``folder``
            if old.exists() and not path.exists():
                old.replace(path)
            raise


@contextmanager
def one_writer(path: str | Path) -> Iterator[None]:
    """Keep a second run from writing to ``path`` while the body runs.

    The system releases the lock of a process that ended, however it ended. The lock's file is
    beside ``path``; if a killed run left it there, it blocks nobody.

    Raises
    ------
    BlockingIOError
        Another run holds the lock.
    """
    from filelock import FileLock, Timeout

    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise BlockingIOError(
            f"another run is writing to {path}; wait until it has ended, or name another directory"
        ) from error
    try:
        yield
    finally:
        if os.name == "posix":  # elsewhere filelock removes the file itself
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise unless a run can be written to ``path`` without losing anything.

    Raises
    ------
    FileExistsError
        ``path`` is a file; or it holds a run and ``overwrite`` is off; or it holds files that are
        not a run of this package; or it is the working directory, which a rename cannot replace.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise FileExistsError(f"a run needs a directory with a name of its own; got {str(path)!r}")
    if not path.exists():
        return
    if not path.is_dir():
        raise FileExistsError(f"a run is written to a directory; {path} is a file, name another")
    if not any(path.iterdir()):
        return
    if not (path / MARKER).exists():
        raise FileExistsError(
            f"{path} holds files but no {MARKER}, so it is not a run of tl_negation and is left "
            "alone; name another directory"
        )
    if not overwrite:
        raise FileExistsError(
            f"{path} already holds a run; name another directory or ask for it to be replaced "
            "(overwrite=True, --overwrite)"
        )


def too_large(name: str, max_bytes: int) -> str:
    """Write the message for a file or download above the limit."""
    return f"{name!r} is larger than {max_bytes:,} bytes; raise max_bytes if it is really a text"
