"""Writing that leaves either the whole thing or nothing: a temporary name, then a rename."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The file by which a run directory is recognised as ours before it is replaced.
MARKER = "run.json"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` if the body succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


@contextmanager
def whole_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory and rename it to ``path`` if the body succeeds.

    Raises
    ------
    FileExistsError
        ``path`` holds something and may not be replaced (see :func:`check_target`).
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        new.mkdir()
        yield new
        check_target(path, overwrite=overwrite)  # another run may have ended meanwhile
        try:
            if path.exists():
                path.replace(old)
            new.replace(path)
        except BaseException:  # an interrupt too: the earlier run must not go with the folder
            if old.exists() and not path.exists():
                old.replace(path)
            raise


@contextmanager
def one_writer(path: str | Path) -> Iterator[None]:
    """Keep a second run from writing to ``path`` while the body runs.

    The system gives up the lock of a process that ended, in whatever way. The lock's file lies
    beside ``path``; one that a killed run left there blocks nobody.

    Raises
    ------
    BlockingIOError
        Another run holds it.
    """
    from filelock import FileLock, Timeout

    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise BlockingIOError(
            f"another run is writing to {path}; wait for its end, or name another directory"
        ) from error
    try:
        yield
    finally:
        if os.name == "posix":  # elsewhere filelock takes its file away itself
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuse a run directory that would lose something.

    Raises
    ------
    FileExistsError
        ``path`` is a file; or holds files and ``overwrite`` is off; or holds something that is
        not a run of this package; or it is the working directory, which cannot be renamed to.
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
            f"{path} holds files but no {MARKER}, so it is no run of tl_negation and is left "
            "alone; name another directory"
        )
    if not overwrite:
        raise FileExistsError(
            f"{path} already holds a run; name another directory or ask for it to be replaced "
            "(overwrite=True, --overwrite)"
        )


def too_large(name: str, max_bytes: int) -> str:
    """Message for a file or download above the limit."""
    return f"{name!r} is larger than {max_bytes:,} bytes; raise max_bytes if it is really a text"
