"""Writing a folder all or nothing: it appears under its name when it is whole and on the disk, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmkit.errors import CheckpointError

# No room on the disk, none left of the quota, or a file larger than the file system or the process may write.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, nbytes: int = 0, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to write into, which takes the name `path` when the block ends without an error.

    Until then it lies beside `path` as `.NAME.XXXXXXXX.partial`. It is removed if the block fails; only a killed
    process leaves it there. `nbytes` is what will be written: if the disk has less room, nothing is begun.
    With `overwrite` an existing folder is moved aside, and removed once the new one has its name. At no moment
    does `path` name an incomplete folder. Raises CheckpointError if `path` exists and is not to be overwritten,
    or if the disk is, or becomes, too full.
    """
    final = Path(path).resolve()
    refuse_existing(final, overwrite)
    partial = final.with_name(f".{final.name}.{secrets.token_hex(4)}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _require_room(final, nbytes)
        partial.mkdir()
        yield partial
        _sync(partial)
        refuse_existing(final, overwrite)
        _take_name(partial, final)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        needed = f" ({nbytes:,} bytes are needed)" if nbytes else ""
        raise CheckpointError(f"{final} was not written{needed}: {error.strerror}; nothing is left behind") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(final: Path, overwrite: bool) -> None:
    """Raise CheckpointError if `final` is a file, or a folder with anything in it that is not to be overwritten."""
    if final.is_dir():
        if not overwrite and any(final.iterdir()):
            raise CheckpointError(f"{final} exists; choose another name or pass overwrite=True")
    elif final.exists():
        raise CheckpointError(f"{final} is a file; expected the name of a folder")


def _require_room(final: Path, nbytes: int) -> None:
    free = shutil.disk_usage(final.parent).free
    if nbytes > free:
        raise CheckpointError(f"{final} needs {nbytes:,} bytes, but its disk has {free:,} free; nothing was written")


def _sync(folder: Path) -> None:
    """Bring the folder and all below it to the disk, so that a crash after the rename finds it whole."""
    for path in (*folder.rglob("*"), folder):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(partial: Path, final: Path) -> None:
    """Rename `partial` to `final`. What was there is gone only after that, and back if the rename fails."""
    replaced = partial.with_suffix(".replaced") if final.exists() else None
    if replaced:
        final.rename(replaced)
    try:
        partial.rename(final)
    except OSError:
        if replaced:
            replaced.rename(final)
        raise
    _sync_one(final.parent)
    if replaced:
        shutil.rmtree(replaced)
