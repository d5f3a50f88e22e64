"""`glmkit lab`: the bundled notebooks, copied where they can be changed, and opened in JupyterLab."""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from glmkit.errors import GLMKitError
from glmkit.resources import data_path

__all__ = ["add_arguments", "copy_notebooks", "run"]

NOTEBOOK_SUFFIXES = (".ipynb", ".py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="DIR",
        nargs="?",
        type=Path,
        default=Path("glmkit-notebooks"),
        help="where the notebooks go; files already there are left as they are (default: %(default)s)",
    )
    parser.add_argument("--copy-only", action="store_true", help="do not start JupyterLab")


def run(args: argparse.Namespace) -> int:
    if not args.copy_only:
        require_jupyterlab()
    copied, kept = copy_notebooks(args.folder)
    note = f"; {len(kept)} already there, left as they are" if kept else ""
    print(f"{len(copied)} files copied to {args.folder}{note}")
    if args.copy_only:
        return 0
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(args.folder)])


def copy_notebooks(folder: Path) -> tuple[list[Path], list[Path]]:
    """Copy the notebooks into `folder`, made if need be, and return (the files copied, the files already there).

    Nothing is overwritten. Raises GLMKitError if `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise GLMKitError(f"{folder} is a file; the notebooks need a folder")
    folder.mkdir(parents=True, exist_ok=True)
    copied: list[Path] = []
    kept: list[Path] = []
    for source in sorted(data_path("notebooks").iterdir()):
        if source.suffix not in NOTEBOOK_SUFFIXES:
            continue
        target = folder / source.name
        if target.exists():
            kept.append(target)
        else:
            shutil.copyfile(source, target)
            copied.append(target)
    return copied, kept


def require_jupyterlab() -> None:
    """Raises GLMKitError, naming what to install, where JupyterLab is missing."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise GLMKitError('JupyterLab is not installed; run: pip install "glmkit[notebook]"')
