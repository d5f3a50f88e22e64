"""Writing all or nothing: a folder or a file appears under its name when it is whole and on the disk, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from glmkit.errors import CheckpointError

# No room on the disk, none left of the quota, or a file larger than the file system or the process may write.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_NAME_KEPT = 40  # characters: a file system allows 255 bytes, of which a character takes up to four

_MARKS = ("config.json", "glmkit.json", "adapter_config.json")  # what tells a checkpoint's folder
_SUBFOLDERS = ("arrays",)  # those of one


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, nbytes: int = 0, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to write into, which takes the name `path` when the block ends without an error.

    Until then it lies beside `path` as `.NAME.XXXXXXXX.partial` (of a long NAME the beginning). It is removed if the
    block fails; only a killed process leaves it there. `nbytes` is what will be written: if the disk has less room,
    nothing is begun. With `overwrite` an existing folder is moved aside, and removed once the new one has its name. At
    no moment does `path` name an incomplete folder. Raises CheckpointError if `path` is no name a folder can have, or
    exists and is not to be overwritten, or if the disk is, or becomes, too full.
    """
    final = _absolute(path)
    refuse_existing(final, overwrite)
    partial = final.with_name(f".{final.name[:_NAME_KEPT]}.{secrets.token_hex(4)}.partial")
    with _told_of_full_disks(final, nbytes):
        try:
            partial.mkdir()
            yield partial
            _sync(partial)
            refuse_existing(final, overwrite)
            _take_name(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, nbytes: int = 0) -> Iterator[Path]:
    """A name to write a file under, which takes the name `path`, in place of what has it, when the block ends.

    Otherwise as `atomic_folder`. Raises CheckpointError if `path` is no name a file can have, or a folder's, or if the
    disk is, or becomes, too full.
    """
    final = _absolute(path, "file")
    if final.is_dir():
        raise CheckpointError(f"{final} is a folder; expected the name of a file")
    partial = final.with_name(f".{final.name[:_NAME_KEPT]}.{secrets.token_hex(4)}.partial")
    with _told_of_full_disks(final, nbytes):
        try:
            yield partial
            _sync_one(partial)
            partial.replace(final)
            _sync_one(final.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _told_of_full_disks(final: Path, nbytes: int) -> Iterator[None]:
    """Make the folder around `final`; raise CheckpointError if its disk has no room for so many bytes, now or later."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _require_room(final, nbytes)
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        needed = f" ({nbytes:,} bytes are needed)" if nbytes else ""
        raise CheckpointError(f"{final} was not written{needed}: {error.strerror}; nothing is left behind") from error


def _absolute(path: str | os.PathLike[str], kind: str = "folder") -> Path:
    try:
        final = Path(path).expanduser().resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            final.lstat()  # told here and not once all is written: a name too long for the file system
    except (TypeError, ValueError, OSError, RuntimeError) as error:  # the last: a link to itself, no such user
        raise CheckpointError(f"{path!r} cannot be the name of a {kind}: {error}") from error
    return final


def total_bytes(files: Mapping[str, bytes]) -> int:
    """What `files` take. Raises CheckpointError for what is not the name of a file in the folder, or not its bytes."""
    for name, content in files.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"files: {name!r} is not the name of a file in the checkpoint's folder")
        if not isinstance(content, bytes):
            raise CheckpointError(f"files: {name} is of type {type(content).__name__}; expected its bytes")
    return sum(map(len, files.values()))


def write_beside(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write whole files, which `total_bytes` has checked, into `folder`."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def refuse_existing(final: Path, overwrite: bool) -> None:
    """Raise CheckpointError if `final` is a file, or a folder with anything in it that is not to be overwritten.

    With `overwrite`, what is replaced has to be a checkpoint: a folder of something else is never taken away.
    """
    if final.is_dir():
        if not overwrite and any(final.iterdir()):
            raise CheckpointError(
                f"{final} exists; choose another name or pass overwrite=True (--overwrite on the command line)"
            )
        if other := _no_checkpoint(final):
            raise CheckpointError(f"{final} is no checkpoint: {other}; choose another name, or remove it yourself")
    elif blocked := next((parent for parent in final.parents if parent.exists() and not parent.is_dir()), None):
        raise CheckpointError(f"{final} cannot be made: {blocked} is a file")
    elif final.exists():
        raise CheckpointError(f"{final} is a file; expected the name of a folder")


def _no_checkpoint(folder: Path) -> str | None:
    """Why a folder is not one that glmkit, or the reference library, wrote; None for one that is, or is empty."""
    inside = list(folder.iterdir())
    if inside and not any(path.name in _MARKS for path in inside):
        return f"it holds {inside[0].name} and none of {', '.join(_MARKS)}"
    other = next((path for path in inside if path.is_dir() and path.name not in _SUBFOLDERS), None)
    return None if other is None else f"it holds the folder {other.name}"


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
