"""Files and directories that are written whole or not at all: a temporary name, then a rename.

The temporary name is that of a directory beside the target, which says whose it is and is locked
while it is in use. What a killed run left there is finished, put back or swept by the next one.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .sealed import FILES, file_sha256, files_of, read_sealed, seal_directory, sealed

#: The file by which a run directory is recognised as ours before it is replaced.
MARKER = "run.json"
#: What the marker of a run and of a replication says.
FORMATS = ("tl_negation run", "tl_negation replication")
#: How names of temporary directories begin, and what is in one: the name of the target, the lock,
#: what is new, what it replaces, and a file that is there once the new is complete.
TEMPORARY = ".tl_negation-"
_TARGET, _LOCK, _NEW, _OLD, _COMPLETE = "target", "lock", "new", "old", "complete"
#: Seconds after which a temporary directory that was never locked belongs to nobody.
_ABANDONED = 600


def expanded(path: str | Path) -> Path:
    """Path with ``~`` and ``~name`` replaced by the home directory.

    Raises
    ------
    ValueError
        There is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} names a home directory that is not known") from error


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` if the body succeeds.

    Raises
    ------
    OSError
        No file may be written there (see :func:`check_file`).
    """
    path = check_file(path)
    with _temporary(path) as folder:
        yield folder / _NEW
        _record(path, path, folder / _NEW)
        (folder / _NEW).replace(path)
    _record(path, path)


def check_file(path: str | Path) -> Path:
    """Refuse a path that no file may be written to, and return the path that will be.

    Parents that are missing are made when the file is written.

    Raises
    ------
    FileExistsError
        ``path`` is no regular file: a directory, a device, a pipe, a link to nothing.
    OSError
        ``path`` cannot be written at all (see :func:`check_name`).
    """
    path = expanded(path)
    check_name(path)
    if path.is_symlink():
        if not path.exists():
            raise FileExistsError(f"{path} is a link to nothing; remove it, or name another file")
        path = path.resolve()  # what it leads to is replaced, and the link stays
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is no regular file and is left as it is; name another file")
    return path


def _record(path: Path, *versions: Path) -> None:
    """Where a run recorded a file, let it be any of these: before it is replaced, old and new."""
    digests = " ".join(file_sha256(version) for version in versions if version.is_file())
    for folder in path.parents[:2]:  # a run's figures lie one folder down
        marker = folder / MARKER
        if path == marker or not marker.is_file():
            continue
        try:
            content, is_sealed = read_sealed(marker)
        except ValueError:  # damaged: reading it says so
            continue
        name = path.relative_to(folder).as_posix()
        if is_sealed and name in files_of(content, folder):
            content[FILES][name] = digests
            with _temporary(marker) as temporary:
                (temporary / _NEW).write_text(sealed(content), encoding="utf-8")
                (temporary / _NEW).replace(marker)


@contextmanager
def whole_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory to write to, and rename it to ``path`` if the body succeeds.

    What is written must have a ``MARKER``, which is sealed: it lists the SHA-256 of every file.
    What an earlier run in ``path`` did not write, such as notes, is kept.

    Raises
    ------
    FileExistsError
        ``path`` holds something that may not be replaced (see :func:`check_target`).
    """
    path = expanded(path)
    check_target(path, overwrite=overwrite)
    path = path.resolve()  # what a link leads to is replaced, and the link stays
    recover(path)
    check_target(path, overwrite=overwrite)
    with _temporary(path) as folder:
        new, old = folder / _NEW, folder / _OLD
        new.mkdir()
        yield new
        check_target(path, overwrite=overwrite)  # another run may have ended there since
        seal_directory(new, MARKER)
        if (path / MARKER).exists():
            _keep_others(path, new)
        (folder / _COMPLETE).touch()
        try:
            if path.exists():
                path.replace(old)
            new.replace(path)
        except BaseException:  # an interrupt, too: the earlier run must not go with ``folder``
            if old.exists() and not path.exists():
                old.replace(path)
            raise


def recover(path: str | Path) -> None:
    """Finish or take back what a killed run left half-way, and sweep what is of no use.

    A run that was complete takes its place; else the earlier one comes back.
    """
    path = expanded(path)
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        return
    _sweep_lock(path)
    for folder in sorted(path.parent.glob(f"{TEMPORARY}*")):
        if not _is_own(folder):
            continue
        with _unused(folder) as free:
            if not free:
                continue
            target = path.parent / Path(os.fsdecode((folder / _TARGET).read_bytes())).name
            if (folder / _NEW).is_dir() and not target.exists():
                if (folder / _COMPLETE).exists():
                    (folder / _NEW).replace(target)
                elif (folder / _OLD).exists():
                    (folder / _OLD).replace(target)
            shutil.rmtree(folder)


def _is_own(path: Path) -> bool:
    """Whether a file is this user's: in a shared folder, others' are none of our business."""
    try:
        return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
    except FileNotFoundError:  # its run has just ended
        return False


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Make a locked directory beside the target, and remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
    lock = _lock(folder / _LOCK)
    lock.acquire()
    try:
        (folder / _TARGET).write_bytes(os.fsencode(path.name))
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Hold a temporary directory's lock and say True, unless a run that is alive holds it."""
    from filelock import Timeout

    if not (folder / _TARGET).exists():
        # Its process was killed at once, or is just about to lock it.
        if time.time() - folder.stat().st_mtime > _ABANDONED:
            shutil.rmtree(folder)
        yield False
        return
    lock = _lock(folder / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _lock(path: Path) -> Any:
    from filelock import FileLock

    return FileLock(path)


def _keep_others(earlier: Path, new: Path) -> None:
    """Copy what the earlier run did not write, unless the new one writes it."""
    ours = {*files_of_run(earlier), MARKER}
    for file in sorted(earlier.rglob("*")):
        name = file.relative_to(earlier)
        is_folder = file.is_dir() and not file.is_symlink()
        if is_folder or name.as_posix() in ours or (new / name).exists():
            continue
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, new / name, follow_symlinks=False)


def files_of_run(folder: str | Path) -> list[str]:
    """Names of the files that a run wrote, beside its ``MARKER``; of those that are there."""
    folder = expanded(folder)
    try:
        content, _ = read_sealed(folder / MARKER)
    except ValueError:  # damaged: what the earliest version wrote is in every run
        content = {}
    return [name for name in files_of(content, folder) if (folder / name).is_file()]


def _sweep_lock(path: Path) -> None:
    """Remove the lock that a killed run left, unless somebody holds it."""
    if _lock_of(path).exists() and _is_own(_lock_of(path)):
        try:
            with one_writer(path):
                pass  # ending, it removes the file
        except BlockingIOError:
            return


def _lock_of(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"


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

    path = expanded(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_of(path))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise BlockingIOError(
            f"another run is writing to {path}; wait until it has ended, or name another directory"
        ) from error
    except PermissionError as error:
        raise PermissionError(
            f"{_lock_of(path)} belongs to somebody else, who writes or wrote to {path}; name "
            "another directory"
        ) from error
    try:
        yield
    finally:
        if os.name == "posix":  # elsewhere filelock removes the file itself
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def check_name(path: Path) -> None:
    """Refuse a path that no file can have, before the work that would end there.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError, OSError
        A parent is a link to nothing or a file, or may not be written to; a name is too long.
    FileExistsError
        The path is a mount point.
    """
    path = path.absolute()
    there = Path(path.anchor)  # the last parent that exists
    for part in [*reversed(path.parents), path][1:]:
        longest = os.pathconf(there, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        longest -= len("..lock")  # the name of the lock beside it
        if len(os.fsencode(part.name)) > longest:
            raise OSError(
                errno.ENAMETOOLONG,
                f"a name has at most {longest} bytes here; shorten {part.name[:40]!r}...",
            )
        if part == path or not (part.exists() or part.is_symlink()):
            continue
        if not part.exists():
            raise FileNotFoundError(f"{path} lies in {part}, which is a link to nothing")
        if not part.is_dir():
            raise NotADirectoryError(f"{path} lies in {part}, which is a file, not a directory")
        there = part
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {there} may not be written to")
    if path.is_mount():
        raise FileExistsError(f"{path} is a mount point, which cannot be replaced; name one in it")


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise unless a run can be written to ``path`` without losing anything.

    Raises
    ------
    FileExistsError
        ``path`` is a file or a link to nothing; or it holds a run and ``overwrite`` is off; or it
        holds files that are not a run of this package; or it is the working directory, which a
        rename cannot replace.
    OSError
        Nothing can be written there (see :func:`check_name`).
    """
    path = expanded(path)
    if path.name in ("", ".."):
        raise FileExistsError(f"a run needs a directory with a name of its own; got {str(path)!r}")
    check_name(path)
    if path.is_symlink() and not path.exists():
        raise FileExistsError(f"{path} is a link to nothing; remove it, or name another directory")
    if not path.exists():
        return
    if path.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise FileExistsError(
            f"{path} is the working directory, or holds it, and cannot be replaced; name a "
            "directory in it, or go elsewhere"
        )
    if not path.is_dir():
        raise FileExistsError(f"a run is written to a directory; {path} is a file, name another")
    if not any(path.iterdir()):
        return
    if not (path / MARKER).is_file():
        raise FileExistsError(
            f"{path} holds files but no {MARKER}, so it is not a run of tl_negation and is left "
            "alone; name another directory"
        )
    if not overwrite:
        raise FileExistsError(
            f"{path} already holds a run; name another directory or ask for it to be replaced "
            "(overwrite=True, --overwrite)"
        )
    _check_no_special_files(path)
    if not _is_ours(path / MARKER):
        raise FileExistsError(
            f"{path / MARKER} is not that of a run of tl_negation, so {path} is left alone; name "
            "another directory"
        )


def _check_no_special_files(folder: Path) -> None:
    kinds = (Path.is_symlink, Path.is_dir, Path.is_file)
    for file in folder.rglob("*"):
        if not any(kind(file) for kind in kinds):
            raise FileExistsError(
                f"{file} is a pipe or a device, which cannot be kept; remove it, or name another "
                "directory"
            )


def _is_ours(marker: Path) -> bool:
    """Whether this is the JSON file of a run; one that is damaged may be replaced too."""
    try:
        content, _ = read_sealed(marker)
    except (ValueError, OSError):
        return b"tl_negation" in marker.read_bytes()[:200]
    return content.get("format") in FORMATS


def too_large(name: str, max_bytes: int) -> str:
    """Write the message for a file or download above the limit."""
    return f"{name!r} is larger than {max_bytes:,} bytes; raise max_bytes if it is really a text"
