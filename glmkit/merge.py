"""`glmkit merge`: a checkpoint with a LoRA adapter added into its weights, as a checkpoint of its own."""

import argparse
import sys
from pathlib import Path

from glmkit.convert import add_folder_arguments, read_as_stored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="a folder in either layout, a bundled name, or a Hub id")
    parser.add_argument("adapter", metavar="ADAPTER", help="an adapter in PEFT's layout: a folder, or a Hub id")
    parser.add_argument("target", metavar="OUT", type=Path, help="the folder to write, in the released layout")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="default: as BASE is stored")
    add_folder_arguments(parser, "OUT")


def run(args: argparse.Namespace) -> int:
    """Merge in host memory, one parameter at a time in float32; OUT appears whole or not at all."""
    import jax

    from glmkit.bundle import companions
    from glmkit.loading import public_name, resolve_adapter, resolve_source
    from glmkit.parallel import mesh
    from glmkit.train.lora import merge_lora
    from glmkit.weights import load_adapter, save_hf
    from glmkit.weights.atomic import refuse_existing
    from glmkit.weights.card import derived_card, facts_of, licence_of

    refuse_existing(args.target, args.overwrite)
    adapter = resolve_adapter(args.adapter, download=args.download)
    folder = resolve_source(args.base, revision=args.revision, download=args.download)
    print(f"reading {folder}", file=sys.stderr)
    # Merging rounds to the model's dtype, so it has to be no narrower than what is stored, nor than what was asked for.
    dtype = "float32" if args.dtype in ("float16", "float32") else None
    model = read_as_stored(folder, mesh(devices=jax.devices("cpu")[:1]), dtype, adapter)
    model = merge_lora(load_adapter(model, adapter))
    files = companions(folder)
    files["README.md"] = derived_card(
        args.target.name,
        "A model and a LoRA adapter, merged by `glmkit merge`.",
        base_model=public_name(args.base),
        licence=licence_of(folder),
        library="glmkit",
        facts={"adapter": public_name(args.adapter), **facts_of(adapter)},
    )
    print(f"writing {args.target}", file=sys.stderr)
    save_hf(model, args.target, dtype=args.dtype, files=files, overwrite=args.overwrite)
    print(args.target)
    return 0
