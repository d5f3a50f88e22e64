"""`glmkit convert`: a checkpoint from one layout, or dtype, to another, with the files beside its weights."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

LAYOUTS = ("hf", "orbax")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a folder in either layout, a bundled name, or a Hub id")
    parser.add_argument("target", metavar="DST", type=Path, help="the folder to write")
    parser.add_argument("--to", required=True, choices=LAYOUTS, help="the released safetensors layout, or Orbax")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="default: as it is stored")
    add_folder_arguments(parser, "DST")


def add_folder_arguments(parser: argparse.ArgumentParser, target: str) -> None:
    """The options of a command that reads one checkpoint and writes another."""
    parser.add_argument("--overwrite", action="store_true", help=f"replace {target} once the new folder is whole")
    parser.add_argument("--revision", help="of a Hub id: a branch, tag or commit")
    parser.add_argument("--download", action="store_true", help="fetch more than 20 GB from the Hub")


def run(args: argparse.Namespace) -> int:
    """Convert in host memory, whatever accelerators there are; DST appears whole or not at all."""
    import jax

    from glmkit.bundle import companions, plain_card
    from glmkit.loading import public_name, resolve_source
    from glmkit.parallel import mesh
    from glmkit.weights import save, save_hf
    from glmkit.weights.atomic import refuse_existing

    refuse_existing(args.target, args.overwrite)
    folder = resolve_source(args.source, revision=args.revision, download=args.download)
    print(f"reading {folder}", file=sys.stderr)
    model = read_as_stored(folder, mesh(devices=jax.devices("cpu")[:1]), args.dtype)
    files = companions(folder)
    print(f"writing {args.target}", file=sys.stderr)
    if args.to == "orbax":
        if args.dtype:
            model.config = replace(model.config, dtype=args.dtype)  # what a later export will store
            model.stored_dtypes = ()
        save(model, args.target, files=files, overwrite=args.overwrite)
    else:
        files.setdefault("README.md", plain_card(model, public_name(args.source)))
        save_hf(model, args.target, dtype=args.dtype, files=files, overwrite=args.overwrite)
    print(args.target)
    return 0


def read_as_stored(folder: Path, mesh, dtype: str | None, adapter: Path | None = None):
    """The model of a folder in either layout, in `dtype` or the dtype that holds what is stored exactly.

    What is wrong with an `adapter` for it is told before the weights are read.
    """
    from glmkit.parallel.planner import require_fit
    from glmkit.weights import load_hf, restore
    from glmkit.weights.hf import declare_hf, stored_dtype
    from glmkit.weights.orbax import Manifest, is_orbax
    from glmkit.weights.peft import declare_adapter

    if is_orbax(folder):
        abstract, read = Manifest.read(folder).abstract(mesh, dtype, fsdp=False), restore
    else:
        dtype = stored_dtype(folder) if dtype is None else dtype
        abstract, read = declare_hf(folder, mesh=mesh, dtype=dtype), load_hf
    if adapter is not None:
        declare_adapter(abstract, adapter)
    require_fit(abstract, max_len=0)
    return read(folder, mesh, dtype)
